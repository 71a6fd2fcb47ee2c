"""The three experiments on a small MovieLens made up here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline import published
from research.experiments import ratings
from tests.unit.offline.synthetic import made_up_movielens

PREPROCESS = ("s0_get_data", "s1_data_split", "s2_term_trans")
QUICK = ({"epochs": 1, "hidden": (4,)}, {"epochs": 2, "hidden": (4,)})
SOURCE, WITH_ADDED = "14", "27"  # 5 ids, 3 genres, 6 statistics; 13 more


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Preprocessed and no further, with a recipe whose models are not the source's."""
    folder = tmp_path_factory.mktemp("experiments")
    settings = Settings(data=made_up_movielens(folder / "ml"), exchange_dir=folder / "exchange", recipe_name="default")
    for step in PREPROCESS:
        importlib.import_module(f"offline.preprocess.{step}").main(settings)
    return settings


@pytest.fixture(scope="module")
def found(settings: Settings) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ratings, "SETTINGS", QUICK)
        return ratings.ratings(settings)


def other_ratings(settings: Settings, folder: Path, split: str) -> Settings:
    """The same data with every rating of ``split`` another one."""
    other = settings.model_copy(update={"exchange_dir": folder})
    for artifact in (artifacts.DATASET, artifacts.ITEMS, artifacts.USERS):
        target = artifact.at(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(artifact.at(settings.exchange_dir).read_bytes())
    table = artifacts.RATINGS.read(settings.exchange_dir)
    rows = table[Columns.SPLIT] == split
    table[Columns.RATING] = table[Columns.RATING].where(~rows, table[Columns.RATING] % 5 + 1)
    table[Columns.LABEL] = (table[Columns.RATING] > 3).astype("int8")
    artifacts.RATINGS.write(folder, table)
    importlib.import_module("offline.preprocess.s2_term_trans").main(other)
    return other


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "seconds"}


def test_the_test_ratings_choose_nothing(
    settings: Settings, found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratings, "SETTINGS", QUICK)
    other = ratings.ratings(other_ratings(settings, tmp_path, Split.TEST))
    assert (other["compared"], other["parts"]) == (found["compared"], found["parts"])
    assert other[WITH_ADDED]["test"] != found[WITH_ADDED]["test"]


def test_the_last_ten_ratings_change_nothing(
    settings: Settings, found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratings, "SETTINGS", QUICK)
    assert without_times(ratings.ratings(other_ratings(settings, tmp_path, Split.HOLDOUT))) == without_times(found)


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat([0, 2, 3, 7], [30, 5, 12, 2])
    labels = rng.integers(0, 2, len(users)).astype(np.float32)
    labels[users == 7] = 1  # no AUC of its own
    scores = (rng.normal(size=len(users)) + labels).astype(np.float32)
    own = {user: roc_auc_score(labels[users == user], scores[users == user]) for user in (0, 2, 3)}
    expected = {
        "auc": roc_auc_score(labels, scores),
        "gauc": (30 * own[0] + 5 * own[2] + 12 * own[3]) / 47,
        "user_auc": np.mean(list(own.values())),
    }
    assert ratings.scores_of(users, scores, labels) == pytest.approx(expected, abs=1e-5)


def test_movielens_1m_has_to_reach_its_auc() -> None:
    ratings._expect(published.ML_1M, ratings.LEAST_AUC)
    ratings._expect(published.OTHER, 0.5)
    with pytest.raises(StepError, match=r"test AUC 0\.8340 is below the 0\.835"):
        ratings._expect(published.ML_1M, 0.834)
