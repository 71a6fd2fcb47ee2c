"""All that Spark makes of MovieLens-1M: row for row what pandas makes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.recipes import ListsRecipe
from data_exchange_center.settings import Settings
from offline.data.lists import ListsAsked
from offline.engines.in_memory import PandasEngine
from offline.engines.spark.engine import SparkEngine
from offline.preprocess import s2_term_trans
from tests.cluster.spark import test_features, test_ingestion_and_split, test_terms, test_training_lists
from tests.cluster.spark.both import copied, run, stored
from tests.needs import not_tested

DATA = Path(os.environ.get("RECSYS_DATA", ""))
USERS_IN_A_PART = 700
pytestmark = pytest.mark.skipif(
    "ml-1m" not in DATA.name, reason=not_tested("MovieLens-1M", "make test-cluster RECSYS_DATA=/path/to/ml-1m.zip")
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of the folder that the steps before leave; no test changes it."""
    return stored(DATA, tmp_path_factory.mktemp("movielens") / "stored", USERS_IN_A_PART)


@pytest.fixture
def left(prepared: Settings, tmp_path: Path) -> Settings:
    """A test's own copy."""
    return copied(prepared, tmp_path / "stored")


@pytest.fixture(autouse=True)
def batches_as_they_are(engine: SparkEngine) -> Iterator[None]:
    """Other tests want tiny ones."""
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = engine.spark.conf.get(name)
    engine.spark.conf.set(name, "10000")
    yield
    engine.spark.conf.set(name, before)


def test_ratings_users_and_items(engine: SparkEngine, tmp_path: Path) -> None:
    ratings = test_ingestion_and_split.expect_equal(engine, DATA, tmp_path / "out")
    assert len(ratings) == 1_000_209
    assert ratings["split"].value_counts().to_dict() == {"train": 754_233, "test": 185_576, "holdout": 60_400}


def test_statistics_term_recall_and_state(engine: SparkEngine, left: Settings, tmp_path: Path) -> None:
    test_terms.expect_equal(engine, left, tmp_path)
    assert len(artifacts.IMPRESSION_TERMS.read(left.exchange_dir)) == 939_809
    assert len(artifacts.USER_STATE.read(left.exchange_dir)) == 6_040


def test_requests_and_lists(engine: SparkEngine, left: Settings, tmp_path: Path) -> None:
    """Those of the recipe, at a stride twenty times its own, from teachers that are made up."""
    recipe = Settings().recipe
    assert isinstance(recipe.ranker, ListsRecipe)
    asked = ListsAsked.of(recipe, recipe.ranker)
    found = test_training_lists.expect_equal(engine, left, tmp_path, replace(asked, stride=20 * asked.stride))
    assert len(found) > 2_000
    assert found["userid"].nunique() > 1_000


def test_features_of_lists(engine: SparkEngine, left: Settings, tmp_path: Path) -> None:
    assert len(test_features.expect_equal(engine, left, tmp_path, rows=10_000)) == 6_040


def test_features_of_pairs(engine: SparkEngine, left: Settings, tmp_path: Path) -> None:
    run(PandasEngine(), [s2_term_trans], left)
    assert len(test_features.expect_equal_of_pairs(engine, left, tmp_path)) == 6_040
