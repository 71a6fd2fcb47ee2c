"""A release's documents sent into Elasticsearch by Spark: each task reads its items and sends them in bulk. No shuffle.

A document lies under its item's number, so that a task that is tried again writes over what it has sent. The driver
reads the items' numbers, four bytes each, and of each task how many documents it has sent.

In Spark's environment. All executors must see the exchange folder under the same path, and reach Elasticsearch.
Run:    python -m past_one_machine.spark.index_job <release>
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.rows import item_rows
from offline_to_online.stores.base import elastic_client
from offline_to_online.stores.elasticsearch import put_documents
from past_one_machine.spark.session import session

AT_ONCE: Final = 20_000  # items of a task at most
SENT: Final = pa.schema([("documents", pa.int64())])


def ranges(itemids: np.ndarray, partitions: int) -> list[tuple[int, int]]:
    """First and last number of each task's items, which are all of ``itemids``."""
    parts = np.array_split(np.sort(itemids), max(partitions, -(-len(itemids) // AT_ONCE)))
    return [(int(part[0]), int(part[-1])) for part in parts if len(part)]


def send(spark: SparkSession, settings: Settings, release: str) -> None:
    """Every item's document, into the release's index, which is there."""
    itemids = artifacts.ITEMS.read(settings.exchange_dir, [Columns.ITEM])[Columns.ITEM].to_numpy()
    parts = ranges(itemids, settings.spark.partitions)

    def sent(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (each for batch in batches for each in batch.column(0).to_pylist()):
            rows = item_rows(settings.exchange_dir, parts[number])
            with elastic_client(settings) as client:
                put_documents(client, release, rows)
            yield pa.record_batch([pa.array([len(rows)], pa.int64())], schema=SENT)

    spark.range(0, len(parts), 1, len(parts)).mapInArrow(sent, from_arrow_schema(SENT)).collect()  # a row a task


def main(settings: Settings) -> None:
    with session(settings.spark) as spark:
        send(spark, settings, sys.argv[1])


if __name__ == "__main__":
    run(main)
