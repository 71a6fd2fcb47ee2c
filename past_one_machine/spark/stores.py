"""Load Elasticsearch and Feast by Spark: RECSYS_ENGINE=spark replaces the stores' own loading by it.

Executors read the release's files themselves, send documents to Elasticsearch in bulk, and write rows to Redis as
Feast's Spark store and compute engine do. A document's id is its item's number, so a retried task overwrites what it
has sent. The driver reads the items' numbers, four bytes each, and how many documents each task has sent. All executors
must see the exchange folder under the same path, and reach the services.

Run:    python -m past_one_machine.spark.stores index <release>, or as `data_exchange_center.feature_repo.cli`,
        in Spark's environment
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from elasticsearch import Elasticsearch

from data_exchange_center import artifacts, steps
from data_exchange_center.columns import Columns
from data_exchange_center.settings import Settings
from offline_to_online.rows import ItemRow, item_rows
from offline_to_online.stores import elasticsearch
from offline_to_online.stores.base import elastic_client
from offline_to_online.stores.feast import FeastEngine
from past_one_machine.spark import environment
from past_one_machine.spark.settings import SparkSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

AT_ONCE: Final = 20_000  # items of a task at most
SENT: Final = pa.schema([("documents", pa.int64())])


def put_documents(settings: Settings, _: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    """Send a release's documents; the job reads the rows from the same files."""
    failed = f"Spark did not load the {len(rows)} items into Elasticsearch"
    environment.run_job(settings, "past_one_machine.spark.stores", ["index", release], failed)


def send(spark: SparkSession, settings: Settings, release: str) -> None:
    """Send every item's document into the release's existing index, in a task for each range of items."""
    from pyspark.sql.pandas.types import from_arrow_schema

    item_numbers = artifacts.ITEMS.read(settings.exchange_dir, [Columns.ITEM])[Columns.ITEM].to_numpy()
    tasks = max(SparkSettings.load().partitions, -(-len(item_numbers) // AT_ONCE))
    parts = [(int(part[0]), int(part[-1])) for part in np.array_split(np.sort(item_numbers), tasks) if len(part)]

    def sent(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (each for batch in batches for each in batch.column(0).to_pylist()):
            rows = item_rows(settings.exchange_dir, parts[number])
            with elastic_client(settings) as client:
                elasticsearch.put_documents(client, release, rows)
            yield pa.record_batch([pa.array([len(rows)], pa.int64())], schema=SENT)

    spark.range(0, len(parts), 1, len(parts)).mapInArrow(sent, from_arrow_schema(SENT)).collect()  # a row a task


def _variables(settings: Settings) -> dict[str, str]:
    reads = {"FEAST_OFFLINE_STORE": "spark", "FEAST_BATCH_ENGINE": "spark.engine"}
    return {**reads, **environment.variables(settings)}


FEAST: Final = FeastEngine(environment.python, "past_one_machine.spark.stores", _variables)


def _index(settings: Settings, release: str) -> None:
    with environment.session(SparkSettings.load()) as spark:
        send(spark, settings, release)


if __name__ == "__main__":
    if sys.argv[1] == "index":
        steps.run(partial(_index, release=sys.argv[2]))
    else:  # Feast's Spark store and engine take the session that there is
        from data_exchange_center.feature_repo.cli import main  # without PyTorch

        with environment.session(SparkSettings.load()):
            main(sys.argv[1])
