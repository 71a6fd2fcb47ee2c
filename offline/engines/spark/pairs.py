"""Counts of pairs of items (`offline.data.pairs`) as a Spark job: each task adds up its users', then each its items'.

What a task holds, and what the driver reads in the end, grows with the items. As a program it leaves the counts in a
folder, for a process without Spark: `counting`.
Run:    python -m offline.engines.spark.pairs <folder> <share> [<window>]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.files import parts_of
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.sequences import PairCount, sequences
from offline.engines.spark.counting import ARROW, counts_of
from offline.engines.spark.session import session
from offline.engines.spark.whole_users import BATCH, whole_users
from offline.readers import PAST

COLUMNS: Final = [Columns.USER, Columns.ITEM, Columns.RATING, Columns.TIMESTAMP, Columns.SPLIT]
PAIRS_IN_BATCH: Final = 1 << 20


def count(spark: SparkSession, exchange_dir: Path, asked: PairCount, partitions: int, folder: Path) -> None:
    """Counts of the past, as parts below ``folder``: `counting.counts_of` reads them."""
    parts = parts_of(artifacts.RATINGS.require(exchange_dir))
    items = np.sort(artifacts.ITEMS.read(exchange_dir, [Columns.ITEM])[Columns.ITEM].to_numpy())
    liked_above = read_dataset(exchange_dir).positive_level
    size = len(items) + 1

    def of_users(rows: pd.DataFrame) -> sp.csr_matrix:
        return asked.of(sequences(rows[rows[Columns.SPLIT].isin(PAST)], items, liked_above))

    def of_parts(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                with pq.ParquetFile(parts[number]) as file:
                    some = whole_users(file.iter_batches(BATCH, columns=COLUMNS))
                    yield from _rows(_sum((of_users(users.to_pandas()) for users in some), size))

    def added_up(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from _rows(_sum((counts_of(pa.Table.from_batches([batch]), size) for batch in batches), size))

    schema = from_arrow_schema(ARROW)
    counted = spark.range(0, len(parts), 1, len(parts)).mapInArrow(of_parts, schema)
    summed = counted.repartition(partitions, "item").mapInArrow(added_up, schema)
    summed.write.mode("overwrite").parquet(folder.as_uri())


def _sum(counts: Iterable[sp.csr_matrix], size: int) -> sp.csr_matrix:
    none = np.empty(0, np.int32)
    total = sp.csr_matrix((none, (none, none)), shape=(size, size))
    for some in counts:
        total = total + some
    return total


def _rows(counts: sp.csr_matrix) -> Iterator[pa.RecordBatch]:
    """The rows of a matrix that are not empty, some `PAIRS_IN_BATCH` pairs at a time."""
    rows = np.flatnonzero(np.diff(counts.indptr))
    ends = counts.indptr[rows + 1]
    for some in np.split(rows, np.flatnonzero(np.diff(ends // PAIRS_IN_BATCH)) + 1):
        if len(some):
            part = counts[some]
            starts = pa.array(part.indptr, pa.int32())
            others, times = (
                pa.ListArray.from_arrays(starts, pa.array(each, pa.int32())) for each in (part.indices, part.data)
            )
            yield pa.record_batch([pa.array(some, pa.int32()), others, times], schema=ARROW)


def main(settings: Settings) -> None:
    folder, share, *window = sys.argv[1:]
    asked = PairCount(float(share), int(window[0]) if window else None)
    with session(settings.spark) as spark:
        count(spark, settings.exchange_dir, asked, settings.spark.partitions, Path(folder))


if __name__ == "__main__":
    run(main)
