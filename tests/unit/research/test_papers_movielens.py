"""MovieLens as papers take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research.papers_movielens import distinct_times, prepare
from tests.unit.offline.synthetic import made_up_movielens, run_steps


def test_distinct_times_keep_gaps() -> None:
    times, users = np.array([5, 5, 6, 90, 90, 7]), np.array([1, 1, 1, 1, 1, 2])
    moved = distinct_times(times, users)
    assert moved.tolist() == [5, 6, 8, 92, 93, 7]
    assert distinct_times(moved, users) is moved  # without ties they stay


def test_every_rating_is_a_target_and_the_last_held_out(tmp_path: Path) -> None:
    folder = prepare(made_up_movielens(tmp_path / "movielens"), tmp_path / "papers")
    settings = run_steps(Settings(data=folder, exchange_dir=tmp_path / "exchange"), 2)
    dataset = read_dataset(settings.artifacts_dir)
    assert settings.recipe.name == "next-item"
    assert (dataset.positive_level, dataset.holdout.last) == (0, 1)
    assert dataset.crossed == ("gender", "age")
    ratings = artifacts.RATINGS.read(settings.artifacts_dir)
    assert (ratings[Columns.LABEL] == 1).all()
    assert not ratings.duplicated([Columns.USER, Columns.TIMESTAMP]).any()
    held_out = ratings[ratings[Columns.SPLIT] == "holdout"]
    assert held_out[Columns.USER].is_unique


def test_no_movielens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="holds no MovieLens"):
        prepare(tmp_path, tmp_path / "papers")
