"""Spark's own tests, which run in its environment: ``make test-spark``."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

# without Spark `test_environment.py` says so
collect_ignore = [] if find_spec("pyspark") else ["test_twins.py"]


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    from past_one_machine.spark.environment import SparkSettings, session

    with session(SparkSettings(master="local[2]", partitions=2)) as started:
        # a partition is many batches
        started.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "100")
        yield started


@pytest.fixture(scope="session", autouse=True)
def partitions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_SPARK__PARTITIONS", "3")
        yield


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ratings are read in batches that end within users."""
    from past_one_machine.spark import users

    monkeypatch.setattr(users, "BATCH", 37)
