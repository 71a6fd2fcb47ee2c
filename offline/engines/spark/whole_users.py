"""Jobs over a table that is sorted by user: functions of whole users (`offline.data.whole_users`), called with a few.

Each part of the table is read by one task, in batches; a user's rows never lie in two
parts. At once a task holds a batch, and the rows of its last user.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from data_exchange_center.artifact_kinds import Table
from data_exchange_center.columns import Columns
from data_exchange_center.files import parts_of
from offline.data.whole_users import OfUsers

BATCH = 1 << 16  # rows


def mapped(
    spark: SparkSession,
    table: Table,
    exchange_dir: Path,
    columns: Sequence[str] | None,
    function: OfUsers,
    declared: pa.Schema,
) -> DataFrame:
    """What ``function`` makes of ``table``, in its order: partition n is of its part n.

    Args:
        columns: of the table; None: all.
        declared: of what it makes; columns that this does not name have the types that it gives them.
    """
    parts = parts_of(table.require(exchange_dir))
    read = None if columns is None else list(columns)
    empty = pq.read_schema(parts[0]).empty_table()
    schema = _made_of(empty if read is None else empty.select(read), function, declared).schema

    def of_tasks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                with pq.ParquetFile(parts[number]) as file:
                    for users in whole_users(file.iter_batches(BATCH, columns=read)):
                        yield from _made_of(users, function, schema).to_batches()

    return spark.range(0, len(parts), 1, len(parts)).mapInArrow(of_tasks, from_arrow_schema(schema))


def whole_users(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches that are sorted by user -> tables with the same rows, none of which ends within a user's rows."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        users = batch.column(Columns.USER).to_numpy()
        begin = int(np.searchsorted(users, users[-1]))  # of the last user, who may go on in the next batch
        if begin or (held and _last(held) != users[-1]):
            yield pa.Table.from_batches([*held, batch.slice(0, begin)])
            held = []
        held.append(batch.slice(begin))
    if held:
        yield pa.Table.from_batches(held)


def _last(held: list[pa.RecordBatch]) -> int:
    return int(held[-1].column(Columns.USER)[-1].as_py())


def _made_of(users: pa.Table, function: OfUsers, declared: pa.Schema) -> pa.Table:
    made = function(users.to_pandas())
    lists = [field.name for field in declared if field.name in made and pa.types.is_list(field.type)]
    made = made.astype(dict.fromkeys(lists, object))  # pandas takes a column without rows for numbers

    def field(name: str) -> pa.Field:
        if name in declared.names:
            return declared.field(name)
        found = pa.Schema.from_pandas(made[[name]], preserve_index=False).field(0)
        return (
            users.schema.field(name) if pa.types.is_null(found.type) else found
        )  # strings that were read, without rows

    fields = [field(str(name)) for name in made]
    return pa.Table.from_pandas(made, pa.schema(fields), preserve_index=False).replace_schema_metadata(None)
