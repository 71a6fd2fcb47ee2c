"""Features of users and of items on Spark: what pandas makes, row for row."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from offline.engines.spark import features
from offline.engines.spark.beside import SparkBeside
from offline.engines.spark.engine import SparkEngine

from data_exchange_center import artifacts
from data_exchange_center.artifact_kinds import Table
from data_exchange_center.columns import Columns
from data_exchange_center.settings import Settings
from offline.engines.in_memory import PandasBeside, PandasEngine
from offline.preprocess import s2_term_trans
from offline.readers import read_inputs, read_rated_pairs
from tests.cluster.spark.both import run, stored
from tests.cluster.spark.worlds import SKEWED, WORLDS, written
from tests.made_up_data import half_stars
from tests.unit.offline.synthetic import made_up_movielens

FILES = (artifacts.USER_FEATURES, artifacts.ITEM_FEATURES)


def expect_same(left: Settings, scratch: Path) -> pd.DataFrame:
    """Assert that Spark has left what pandas did. The users."""
    for file in FILES:
        pd.testing.assert_frame_equal(file.read(left.exchange_dir), file.read(scratch))
    assert artifacts.USER_FEATURES.at(left.exchange_dir).is_dir()
    return artifacts.USER_FEATURES.read(scratch)


def expect_equal(engine: SparkEngine, left: Settings, scratch: Path, rows: int = 37) -> pd.DataFrame:
    """The features of rankers of lists, of ratings that are read in batches that end within users."""
    PandasBeside(scratch).features_of_lists(read_inputs(left))
    features.of_lists(engine, left.exchange_dir, rows)
    return expect_same(left, scratch)


def expect_equal_of_pairs(engine: SparkEngine, left: Settings, scratch: Path) -> pd.DataFrame:
    """The features of the source's ranker."""
    PandasBeside(scratch).features_of_pairs(read_rated_pairs(left))
    features.of_pairs(engine, left.exchange_dir)
    return expect_same(left, scratch)


def without_ratings(left: Settings) -> Settings:
    """With users who have no ratings, before all others, after them and among them; users are in smaller parts."""
    users, ratings = (table.read(left.exchange_dir) for table in (artifacts.USERS, artifacts.RATINGS))
    ratings = ratings[~ratings[Columns.USER].isin(users[Columns.USER].iloc[[0, 30, -2, -1]])]
    of_ratings = ratings[Columns.USER].searchsorted(users[Columns.USER].iloc[[20, 45]])
    rewrite(left, artifacts.RATINGS, ratings, of_ratings.tolist())
    rewrite(left, artifacts.USERS, users, list(range(7, len(users), 7)))
    return left


def rewrite(left: Settings, table: Table, rows: pd.DataFrame, ends: list[int]) -> None:
    """In parts."""
    with table.in_parts(left.exchange_dir) as folder:
        for part, (begin, end) in enumerate(pairwise([0, *ends, len(rows)])):
            table.write(left.exchange_dir / "scratch", rows[begin:end])
            table.at(left.exchange_dir / "scratch").rename(folder / f"part-{part:05d}.parquet")


@pytest.mark.parametrize("make", [made_up_movielens, half_stars])
def test_features_of_lists(engine: SparkEngine, tmp_path: Path, make) -> None:
    left = without_ratings(stored(make(tmp_path / "data"), tmp_path / "stored", users_in_a_part=25))
    users = expect_equal(engine, left, tmp_path)
    assert (users[Columns.N_RATINGS] == 0).sum() >= 4
    assert users.select_dtypes("object").columns.any()


@pytest.mark.parametrize("make", [made_up_movielens, half_stars])
def test_features_of_pairs(engine: SparkEngine, tmp_path: Path, make) -> None:
    left = stored(make(tmp_path / "data"), tmp_path / "stored", users_in_a_part=25)
    run(PandasEngine(), [s2_term_trans], left)
    expect_equal_of_pairs(engine, left, tmp_path)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(world=WORLDS, users_in_a_part=st.integers(1, 8))
def test_small_worlds(engine: SparkEngine, world: dict, users_in_a_part: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        left = stored(written(world, Path(scratch) / "data"), Path(scratch) / "stored", users_in_a_part)
        if len(read_inputs(left).data.items):
            expect_equal(engine, left, Path(scratch))


def test_a_skewed_user(engine: SparkEngine, tmp_path: Path) -> None:
    """Whose rows are many batches."""
    left = stored(written(SKEWED, tmp_path / "data"), tmp_path / "stored", users_in_a_part=100)
    assert expect_equal(engine, left, tmp_path, rows=5000)[Columns.N_RATINGS].max() > 16_000


def test_a_step_that_spark_does_not_run_has_them_made(tmp_path: Path) -> None:
    """By a process of its own."""
    left = stored(made_up_movielens(tmp_path / "films"), tmp_path / "stored", users_in_a_part=25)
    inputs = read_inputs(left)
    PandasBeside(tmp_path).features_of_lists(inputs)
    SparkBeside(left).features_of_lists(inputs)
    expect_same(left, tmp_path)
