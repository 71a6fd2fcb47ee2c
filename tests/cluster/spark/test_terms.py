"""Point-in-time statistics, term recall and users' state on Spark: what pandas leaves, row for row."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from offline.engines.spark import whole_users
from offline.engines.spark.engine import SparkEngine

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from offline.engines.in_memory import PandasEngine
from offline.preprocess import s2_term_trans
from offline.recall import s1_term_recall
from tests.cluster.spark.both import copied, expect_same_files, run, stored
from tests.cluster.spark.worlds import SKEWED, WORLDS, written
from tests.made_up_data import half_stars
from tests.unit.offline.synthetic import made_up_movielens

STEPS = (s2_term_trans, s1_term_recall)
FILES = (
    artifacts.IMPRESSION_TERMS,
    artifacts.USER_TERMS,
    artifacts.USER_PREFERENCES,
    artifacts.USER_SEEN,
    artifacts.USER_STATE,
    artifacts.POPULAR,
    artifacts.TERM_RECALL_REPORT,
)


def expect_equal(spark: SparkEngine, here: Settings, scratch: Path) -> None:
    """Assert that the steps leave the same with both engines: with pandas in the folder given."""
    there = copied(here, scratch / "spark")
    run(PandasEngine(), STEPS, here)
    run(spark, STEPS, there)
    expect_same_files(here, there, FILES)


@pytest.mark.parametrize("make", [made_up_movielens, half_stars])
def test_terms_and_term_recall(engine: SparkEngine, tmp_path: Path, make, monkeypatch) -> None:
    """In batches that end within users."""
    monkeypatch.setattr(whole_users, "BATCH", 37)
    left = stored(make(tmp_path / "data"), tmp_path / "pandas", users_in_a_part=25)
    expect_equal(engine, left, tmp_path)
    report = artifacts.TERM_RECALL_REPORT.read(left.exchange_dir)["validation"]
    assert report["users_with_target"]
    assert artifacts.USER_SEEN.at(tmp_path / "spark").is_dir()


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(world=WORLDS, users_in_a_part=st.integers(1, 8))
def test_small_worlds(engine: SparkEngine, world: dict, users_in_a_part: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data, left = (Path(scratch) / name for name in ("data", "pandas"))
        expect_equal(engine, stored(written(world, data), left, users_in_a_part), Path(scratch))


def test_a_skewed_user(engine: SparkEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose rows are many batches."""
    monkeypatch.setattr(whole_users, "BATCH", 5000)
    left = stored(written(SKEWED, tmp_path / "data"), tmp_path / "pandas", users_in_a_part=100)
    expect_equal(engine, left, tmp_path)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_no_table_ends_within_a_user(size: int) -> None:
    users = np.repeat([3, 4, 9, 10, 11], [1, 5, 2, 9, 1])
    table = pa.table({"userid": users, "row": np.arange(len(users))})
    found = list(whole_users.whole_users(table.to_batches(max_chunksize=size)))
    assert pa.concat_tables(found).equals(table)
    ids = [set(part["userid"].to_pylist()) for part in found]
    assert all(not a & b for a, b in pairwise(ids))
    assert max(part.num_rows for part in found) <= 9 + size


def test_without_rows_there_is_nothing() -> None:
    assert list(whole_users.whole_users([])) == []
