"""Count pairs of items on Spark, for the steps that fit models: each task sums over its users, then over its items.

Memory of a task, and the result, grow with the items, not with the users. The twins of the steps that train run in the
project's environment, where the models are; counting runs in a separate process in Spark's.

Run:    python -m past_one_machine.spark.pairs <folder> <share> [<window>]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.files import parts_of
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.sequences import Inputs, Sequences, sequences
from offline.readers import read_inputs
from past_one_machine.spark import users
from past_one_machine.spark.environment import run_job, session
from past_one_machine.spark.settings import SparkSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COLUMNS: Final = [Columns.USER, Columns.ITEM, Columns.RATING, Columns.TIMESTAMP, Columns.SPLIT]
PAIRS_IN_BATCH: Final = 1 << 20
# a row of the matrix: an item's code, the codes that it goes together with, and how often
ROW: Final = {"item": pa.int32(), "others": pa.list_(pa.int32()), "times": pa.list_(pa.int32())}


@dataclass(frozen=True)
class CountedOnSpark(Sequences):
    """Sequences of all that is not held out, or of the first ``share`` of it, whose pairs of items Spark counts."""

    settings: Settings | None = None
    share: float = 1.0

    @classmethod
    def of(cls, data: Sequences, settings: Settings, share: float = 1.0) -> Self:
        return cls(**_fields(data), settings=settings, share=share)

    def select(self, keep: NDArray[np.bool_]) -> Sequences:
        return Sequences(**_fields(self)).select(keep)

    def earlier(self, share: float) -> Sequences:
        first = super().earlier(share)
        return self.of(first, self._settings, share) if self.share == 1 else first

    def liked_together(self) -> sp.csr_matrix:
        return self._count()

    def followers(self, window: int) -> sp.csr_matrix:
        return self._count(window)

    def _count(self, window: int | None = None) -> sp.csr_matrix:
        """Raises StepError where the job fails."""
        with tempfile.TemporaryDirectory(dir=self._settings.exchange_dir, prefix=".pairs.") as folder:
            counts = Path(folder) / "counts"
            arguments = [str(counts), str(self.share), *([] if window is None else [str(window)])]
            run_job(self._settings, "past_one_machine.spark.pairs", arguments, "Spark did not count the pairs of items")
            return counts_of(pa.concat_tables(map(pq.read_table, parts_of(counts))), self.n_items + 1)

    @property
    def _settings(self) -> Settings:
        assert self.settings is not None  # noqa: S101
        return self.settings


def _fields(data: Sequences) -> dict[str, Any]:
    return {field.name: getattr(data, field.name) for field in fields(Sequences)}


def read_counted_on_spark(settings: Settings) -> Inputs:
    """`readers.read_inputs`, whose pairs of items Spark counts."""
    inputs = read_inputs(settings)
    return replace(inputs, data=CountedOnSpark.of(inputs.data, settings))


def counted(past: Sequences, share: float, window: int | None) -> sp.csr_matrix:
    """Count pairs in the first ``share`` of each user's events: `followers`, or `liked_together` without a window."""
    first = past.earlier(share)
    return first.liked_together() if window is None else first.followers(window)


def count(
    spark: SparkSession, exchange_dir: Path, share: float, window: int | None, partitions: int, folder: Path
) -> None:
    """Write the counts of all users, as parts below ``folder``: `counts_of` reads them."""
    items = np.sort(artifacts.ITEMS.read(exchange_dir, [Columns.ITEM])[Columns.ITEM].to_numpy())
    liked_above = read_dataset(exchange_dir).positive_level
    size, batch, at_once = len(items) + 1, users.BATCH, PAIRS_IN_BATCH

    def of_users(ratings: pd.DataFrame) -> sp.csr_matrix:
        return counted(sequences(users.past_of(ratings), items, liked_above), share, window)

    def of_part(part: users.Users) -> Iterator[pa.Table]:
        some = users.some_users(exchange_dir, part, COLUMNS, batch=batch)
        yield from _rows(_sum((of_users(ratings) for ratings, _ in some), size), at_once)

    def added_up(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = _sum((counts_of(pa.Table.from_batches([batch]), size) for batch in batches), size)
        for table in _rows(total, at_once):
            yield from table.to_batches()

    rows = users.run(spark, users.ranges(exchange_dir, partitions), of_part, ROW)
    summed = rows.repartition(partitions, "item").mapInArrow(added_up, rows.schema)
    summed.write.mode("overwrite").parquet(folder.as_uri())


def counts_of(rows: pa.Table, size: int) -> sp.csr_matrix:
    """Rows as in `ROW`, possibly several of an item -> (size, size) counts."""
    others, times = (rows[name].combine_chunks() for name in ("others", "times"))
    lengths = np.diff(others.offsets.to_numpy())
    places = np.repeat(rows["item"].to_numpy(), lengths), others.flatten().to_numpy()
    counts = sp.csr_matrix((times.flatten().to_numpy(), places), shape=(size, size))
    counts.sum_duplicates()
    return counts


def _sum(counts: Iterable[sp.csr_matrix], size: int) -> sp.csr_matrix:
    none = np.empty(0, np.int32)
    total = sp.csr_matrix((none, (none, none)), shape=(size, size))
    for some in counts:
        total = total + some
    return total


def _rows(counts: sp.csr_matrix, at_once: int) -> Iterator[pa.Table]:
    """The rows of a matrix that are not empty, some ``at_once`` pairs at a time."""
    rows = np.flatnonzero(np.diff(counts.indptr))
    ends = counts.indptr[rows + 1]
    for some in np.split(rows, np.flatnonzero(np.diff(ends // at_once)) + 1):
        if len(some):
            part = counts[some]
            starts = pa.array(part.indptr, pa.int32())
            others, times = (
                pa.ListArray.from_arrays(starts, pa.array(each, pa.int32())) for each in (part.indices, part.data)
            )
            yield pa.table([pa.array(some, pa.int32()), others, times], schema=pa.schema(list(ROW.items())))


def main(settings: Settings) -> None:
    folder, share, *window = sys.argv[1:]
    with session(SparkSettings.load()) as spark:
        of = float(share), int(window[0]) if window else None
        count(spark, settings.exchange_dir, *of, SparkSettings.load().partitions, Path(folder))


if __name__ == "__main__":
    run(main)
