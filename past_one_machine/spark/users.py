"""Jobs over users: each task has a range of them, and calls a step's own functions on batches of whole users.

Tables are sorted by user, so no rows are shuffled. A task holds a batch of ratings, the ratings of its last user, and a
row for each of its users. The driver reads the users' numbers, four bytes each.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import artifacts
from data_exchange_center.artifacts import Table
from data_exchange_center.columns import Columns, Split
from data_exchange_center.files import parts_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BATCH: Final = 1 << 16  # rows of ratings, read at once
ENDS_WITHIN_S: Final = 60.0  # time for the tasks of a failed job to end
AT_ONCE: Final = 1 << 16  # rows handed to Spark


class Users(NamedTuple):
    """A task's range of users.

    Attributes:
        first, last: their lowest and highest number.
        before: how many of all users come before them.
        size: how many they are.
    """

    first: int
    last: int
    before: int
    size: int


def ranges(
    exchange_dir: Path, partitions: int, table: Table = artifacts.USERS
) -> list[Users]:
    """Cut the users of ``table``, one a row, into ranges of the same size."""
    ids = table.read_arrow(exchange_dir, [Columns.USER])[Columns.USER].to_numpy()
    if np.any(np.diff(ids) <= 0):
        raise table.wrong(exchange_dir, "is not sorted by user")
    parts = np.array_split(np.arange(len(ids)), min(partitions, len(ids)))
    return [
        Users(int(ids[part[0]]), int(ids[part[-1]]), int(part[0]), len(part))
        for part in parts
        if len(part)
    ]


def rows_of(
    table: Table, exchange_dir: Path, users: Users, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read the range's rows of a table that has a row a user."""
    own = [(Columns.USER, ">=", users.first), (Columns.USER, "<=", users.last)]
    return table.read(exchange_dir, None if columns is None else list(columns), own)


def some_users(
    exchange_dir: Path,
    users: Users,
    columns: Sequence[str],
    *,
    table: Table = artifacts.RATINGS,
    listed: Table = artifacts.USERS,
    batch: int = BATCH,
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Read the range's ratings in batches of whole users, with these users' rows of ``listed``.

    Users without ratings are included, so each of the range's users comes once, in order.

    Args:
        columns: of the ratings.
        batch: rows read at once.
    """
    people = rows_of(listed, exchange_dir, users)
    begin = 0
    for ratings in whole_users(_batches(table, exchange_dir, users, columns, batch)):
        rows = ratings.to_pandas()
        end = int(
            np.searchsorted(
                people[Columns.USER], rows[Columns.USER].iloc[-1], side="right"
            )
        )
        yield rows, people[begin:end]
        begin = end
    if begin < len(people):
        nothing = pa.schema(
            [(name, kind) for name, kind in table.columns.items() if name in columns]
        ).empty_table()
        yield nothing.to_pandas(), people[begin:]


def past_of(ratings: pd.DataFrame) -> pd.DataFrame:
    """Ratings that are not held out."""
    return ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]


def _batches(
    table: Table, exchange_dir: Path, users: Users, columns: Sequence[str], size: int
) -> Iterator[pa.RecordBatch]:
    """The range's rows, in order; groups of rows without any of them are not read."""
    for path in parts_of(table.require(exchange_dir)):
        with pq.ParquetFile(path) as file:
            groups = [
                number
                for number in range(file.num_row_groups)
                if _holds(file.metadata.row_group(number), users)
            ]
            for batch in (
                file.iter_batches(size, row_groups=groups, columns=list(columns))
                if groups
                else ()
            ):
                ids = batch.column(Columns.USER).to_numpy()
                begin, end = (
                    np.searchsorted(ids, users.first),
                    np.searchsorted(ids, users.last, side="right"),
                )
                yield batch.slice(begin, end - begin)


def _holds(group: pq.RowGroupMetaData, users: Users) -> bool:
    """Whether a group of rows may hold some of the users, by the statistics that Parquet keeps."""
    column = next(
        group.column(n)
        for n in range(group.num_columns)
        if group.column(n).path_in_schema == Columns.USER
    )
    known = column.statistics
    return (
        known is None
        or not known.has_min_max
        or (known.min <= users.last and known.max >= users.first)
    )


def whole_users(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches that are sorted by user -> tables with the same rows, none of which ends within a user's rows."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        users = batch.column(Columns.USER).to_numpy()
        # of the last user, who may go on in the next batch
        begin = int(np.searchsorted(users, users[-1]))
        if begin or (held and _last(held) != users[-1]):
            yield pa.Table.from_batches([*held, batch.slice(0, begin)])
            held = []
        held.append(batch.slice(begin))
    if held:
        yield pa.Table.from_batches(held)


def _last(held: list[pa.RecordBatch]) -> int:
    return int(held[-1].column(Columns.USER)[-1].as_py())


def run(
    spark: SparkSession,
    parts: Sequence[Users],
    make: Callable[[Users], Iterator[Any]],
    columns: Mapping[str, pa.DataType],
) -> DataFrame:
    """Call ``make`` with each range in a task of its own; partition n is of range n.

    Args:
        make: yields data frames or Arrow tables.
        columns: of these.
    """
    from pyspark.sql.pandas.types import (
        from_arrow_schema,
    )  # installed in Spark's environment only

    schema = pa.schema(list(columns.items()))

    def of_tasks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for made in make(parts[number]):
                    if isinstance(made, pd.DataFrame):
                        made = pa.Table.from_pandas(made, schema, preserve_index=False)
                    yield from (
                        made.cast(schema)
                        .replace_schema_metadata(None)
                        .to_batches(AT_ONCE)
                    )

    return spark.range(0, len(parts), 1, len(parts)).mapInArrow(
        of_tasks, from_arrow_schema(schema)
    )


@contextmanager
def folder_written_in_place(path: Path) -> Iterator[Path]:
    """A temporary folder next to ``path`` that replaces it, file or folder, when the block ends well and vanishes
    otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.is_dir():
            path.rename(temporary.with_name(f"{temporary.name}.before"))
        elif path.exists():
            path.unlink()
        temporary.rename(path)
    finally:
        for left in (temporary, temporary.with_name(f"{temporary.name}.before")):
            if left.exists():
                shutil.rmtree(left)


@contextmanager
def in_parts(table: Table, exchange_dir: Path) -> Iterator[Path]:
    """A folder that Spark writes parts of a table into, in the order of their names.

    It takes the table's place when the block ends well. Raises ArtifactError when the columns are not those declared.
    """
    path = table.at(exchange_dir)
    with folder_written_in_place(path) as temporary:
        yield temporary
        parts = parts_of(temporary)
        table.expect_columns(parts, exchange_dir)
        for other in set(temporary.iterdir()) - set(parts):
            other.unlink()  # marks and checksums of Spark


def write(table: Table, exchange_dir: Path, rows: DataFrame) -> int:
    """Write an artifact in parts, whole or not at all. Returns the number of rows.

    Spark publishes what a task has written only when the task has succeeded, so each part is there once.
    """
    with in_parts(table, exchange_dir) as folder:
        write_parts(rows, folder)
    return rows_in(table.at(exchange_dir))


def write_parts(rows: DataFrame, folder: Path) -> None:
    """Write rows into ``folder``. After a failure, wait for the job's last task, so that none writes there later."""
    tracker = rows.sparkSession.sparkContext.statusTracker()

    def running() -> bool:
        stages = {
            stage
            for job in tracker.getJobIdsForGroup()
            for stage in getattr(tracker.getJobInfo(job), "stageIds", ())
        }
        return any(
            getattr(tracker.getStageInfo(stage), "numActiveTasks", 0)
            for stage in stages
        )

    try:
        rows.write.mode("overwrite").parquet(folder.as_uri())
    except Exception:
        over = Retrying(
            stop=stop_after_delay(ENDS_WITHIN_S),
            wait=wait_fixed(0.1),
            retry=retry_if_result(bool),
            retry_error_callback=lambda _: None,
        )
        over(running)
        raise


def rows_in(path: Path) -> int:
    """Count the rows of a table, from its Parquet metadata."""
    return sum(pq.read_metadata(part).num_rows for part in parts_of(path))
