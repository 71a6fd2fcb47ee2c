"""The interactions of a data set as a DataFrame: each file of the table is read by one task.

A task reads its file with the same code as pandas does, batch by batch: a bad cell is refused in the same words. It
must see the file under the same path as the driver.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (as Spark's own documentation has it)

from data_exchange_center.steps import StepError
from offline.engines.spark.identifiers import Ids
from offline.ingestion.cells import Cells
from offline.ingestion.declaration import INTERACTIONS, USERS, InteractionsTable
from offline.ingestion.events import refuse_unlisted, values_of
from offline.ingestion.sources import Source
from offline.ingestion.tables import PartedRows, Rows

# An event and the place that it stands in; or, where it cannot be read, a problem.
SCHEMA: Final = "part int, row long, user string, item string, micro long, value double, problem string"
ARROW: Final = pa.schema(
    [
        ("part", pa.int32()),
        ("row", pa.int64()),
        ("user", pa.string()),
        ("item", pa.string()),
        ("micro", pa.int64()),
        ("value", pa.float64()),
        ("problem", pa.string()),
    ]
)


def parts_of(rows: Rows) -> list[Rows]:
    """The files of a table. Raises StepError for what other processes cannot open."""
    parts = list(rows.parts) if isinstance(rows, PartedRows) else [rows]
    try:
        pickle.dumps(parts)
    except TypeError:
        raise StepError(
            f"{rows.name} is in a zip, which Spark's workers cannot read in: unpack it, and name the folder in "
            "RECSYS_DATA."
        ) from None
    return parts


def read(spark: SparkSession, rows: Rows, declared: InteractionsTable) -> DataFrame:
    """All events, in `SCHEMA`; a file ends with its first problem."""
    parts = parts_of(rows)

    def of_tasks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from events_of(parts[number], number, declared)

    return spark.range(0, len(parts), 1, len(parts)).mapInArrow(of_tasks, SCHEMA)


def events_of(rows: Rows, part: int, declared: InteractionsTable) -> Iterator[pa.RecordBatch]:
    """The events of one file."""
    value = [] if declared.value is None else [declared.value]
    first = 0
    try:
        for batch in rows.batches([declared.user, declared.item, declared.time, *value]):
            of_user, of_item, of_time, *of_value = (
                Cells(rows, name, first, batch.column(at)) for at, name in enumerate(batch.schema.names)
            )
            n = batch.num_rows
            columns = [
                pa.array(np.full(n, part), pa.int32()),
                pa.array(np.arange(first, first + n), pa.int64()),
                of_user.ids(),
                of_item.ids(),
                pa.array(of_time.microseconds(declared.time_unit), pa.int64()),
                pa.array(values_of(of_value[0], declared.levels)) if of_value else pa.nulls(n, pa.float64()),
                pa.nulls(n, pa.string()),
            ]
            yield pa.record_batch(columns, schema=ARROW)
            first += n
    except StepError as error:
        yield pa.RecordBatch.from_pylist([{"part": part, "row": first, "problem": str(error)}], ARROW)


def expect_readable(events: DataFrame) -> None:
    """Raise StepError with the first problem, if there is one."""
    found = events.where(F.col("problem").isNotNull()).orderBy("part", "row").select("problem").first()
    if found is not None:
        raise StepError(found["problem"])


def expect_listed(numbered: DataFrame, own: str, number: str, ids: Ids, source: Source, table: str) -> None:
    """Raise StepError for the first event whose id is in no list, if there is one.

    Args:
        numbered: with the own id in a column ``own`` and null in ``number`` where it is not listed.
        table: of ``source``, which lists the ids.
    """
    found = numbered.where(F.col(number).isNull()).orderBy("part", "row").select("part", "row", own).first()
    if found is None:
        return
    part, row, own_id = found
    blank = r"^\s+|\s+$"
    near = ids.table and ids.table.where(F.regexp_replace("own_id", blank, "") == own_id.strip()).first()
    declared, rows = source.declaration.interactions, parts_of(source.tables[INTERACTIONS])[part]
    column = declared.user if table == USERS else declared.item
    cells = Cells(rows, column, row, pa.array([own_id]))
    refuse_unlisted(cells, 0, source.tables[table].name, near["own_id"] if near else None)
