"""Elasticsearch and Feast loaded by Spark: what RECSYS_ENGINE=spark puts in the place of the stores' own loading.

Executors read the release's files themselves, send documents to Elasticsearch, and write rows to Redis as Feast's
Spark store and compute engine do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from elasticsearch import Elasticsearch

from data_exchange_center.settings import Settings
from offline_to_online.rows import ItemRow
from offline_to_online.stores.feast import FeastEngine
from past_one_machine.spark import environment


def put_documents(settings: Settings, _: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    """Send a release's documents; the job makes its rows of the same files."""
    failed = f"Spark did not load the {len(rows)} items into Elasticsearch"
    environment.run_job(settings, "past_one_machine.spark.index_job", [release], failed)


def _variables(settings: Settings) -> dict[str, str]:
    return {"FEAST_OFFLINE_STORE": "spark", **environment.variables(settings)}


FEAST: Final = FeastEngine(
    environment.python,
    "past_one_machine.spark.feast_job",
    {"offline_store": {"type": "spark"}, "batch_engine": {"type": "spark.engine"}},
    _variables,
)
