"""The order within a second, shuffled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.settings import Settings
from offline.evaluation import served
from offline.evaluation.replay import Answers
from research.experiments import shuffled_ties
from research.experiments.shuffled_ties import shuffled
from tests.unit.offline.data.ratings import made_up_ratings
from tests.unit.offline.training.test_ranking import ITEMS, RECIPE, USERS, inputs_of


def test_events_change_places_within_their_second_alone() -> None:
    data = made_up_ratings(of_one_second=5)
    other = shuffled(data, np.random.default_rng(0))
    assert not np.array_equal(other.items, data.items)
    for name in ("items", "ratings", "liked"):
        seconds, seconds_then = (getattr(each, name).reshape(-1, 5) for each in (other, data))
        assert np.array_equal(np.sort(seconds), np.sort(seconds_then))
    rated = dict(zip(zip(data.users, data.items, strict=True), data.ratings, strict=True))
    assert all(
        rated[key] == stars
        for key, stars in zip(zip(other.users, other.items, strict=True), other.ratings, strict=True)
    )
    alone = made_up_ratings(of_one_second=1)
    assert np.array_equal(shuffled(alone, np.random.default_rng(0)).items, alone.items)


def test_every_list_stands_beside_the_one_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    inputs = replace(
        inputs,
        data=replace(inputs.data, times=inputs.data.times // 1800),
        dataset=inputs.dataset.model_copy(update={"holdout": HoldoutRule(last=4)}),
    )
    artifacts.DATASET.write(tmp_path, {"name": "made up"})
    nothing = np.zeros((USERS, RECIPE.recall.candidates), dtype=np.int64)
    own = Answers({"tower": nothing, "ease": nothing}, nothing, nothing, nothing.astype(float))
    monkeypatch.setattr(shuffled_ties, "read_with_holdout", lambda _: inputs)
    monkeypatch.setattr(served, "answers", lambda *_: own)
    found = shuffled_ties.measure(Settings(exchange_dir=tmp_path), RECIPE)
    names = ("channel tower", "channel ease", "recall", "ranked")
    assert list(found["table"]) == [each for name in names for each in (name, f"{name}, ties shuffled")]
    assert found["pairs of one second"] == pytest.approx(12 / 17)
