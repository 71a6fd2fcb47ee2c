"""Spark's own tests, which run in its environment: ``make test-cluster``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from offline.engines.spark.engine import SparkEngine

# Elsewhere `test_environment.py` says why the others are left out.
NEED_IT = [
    "test_features.py",
    "test_failures.py",
    "test_ingestion_and_split.py",
    "test_movielens_1m.py",
    "test_pairs.py",
    "test_terms.py",
    "test_training_lists.py",
]
collect_ignore = [] if find_spec("pyspark") else NEED_IT


@pytest.fixture(scope="session")
def engine() -> Iterator[SparkEngine]:
    from offline.engines.spark.engine import SparkEngine
    from offline.engines.spark.session import session

    from data_exchange_center.settings import SparkSettings

    with session(SparkSettings(master="local[2]", partitions=3)) as spark:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "100")  # a partition is many batches
        yield SparkEngine(spark, partitions=3)
