"""Other seeds, other times of the same requests, and everybody's last rating."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.settings import Settings
from offline.evaluation import replay, served
from offline.evaluation.protocols import EvalRequests, fit_stages
from offline.readers import read_with_holdout
from research.experiments.fitted import systems
from research.experiments.other_cuts import (
    HOUR_LATER,
    NOW,
    last_ratings,
    later,
    of_the_last,
    spread,
    with_seed,
    without_time,
)
from tests.synthetic_release import write_artifacts
from tests.unit.offline.evaluation.made_up import LAST_FOUR, made_up
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of


def test_every_stage_of_fitted_systems_holds_nothing_seen() -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    requests = EvalRequests(replay.hold_out(inputs.data, HoldoutRule(last=4)), inputs)
    found = systems(fit_stages(requests.holdout.past, inputs, RECIPE), requests, RECIPE)
    assert list(found) == ["channel tower", "channel ease", "recall", "ranked"]
    seen = requests.holdout.past.seen().toarray() > 0
    for lists in found.values():
        assert not any(seen[user, codes[codes > 0]].any() for user, codes in enumerate(lists))
    assert np.array_equal(np.sort(found["recall"]), np.sort(found["ranked"]))


def test_a_seed_is_changed_in_every_part() -> None:
    seeded = with_seed(RECIPE, 7)
    assert [channel.seed for channel in seeded.recall.channels] == [7, 7]
    assert with_seed(seeded, 0) == RECIPE
    found = spread([{"recall": {"ndcg": 1.0}}, {"recall": {"ndcg": 3.0}}])
    assert found == {"recall": {"ndcg": {"by_seed": [1.0, 3.0], "mean": 2.0, "std": pytest.approx(np.sqrt(2))}}}


def test_an_hour_later_and_now_the_targets_are_the_same() -> None:
    holdout = replay.hold_out(made_up(), LAST_FOUR)
    asked = later(holdout)
    assert np.array_equal(asked[HOUR_LATER].times, holdout.times + 3600)
    assert abs(asked[NOW].times - time.time()).max() < 60
    for each in asked.values():
        assert each.relevance is holdout.relevance
        assert np.array_equal(each.known.items, holdout.past.items)


def test_the_last_rating_is_the_target_liked_or_not() -> None:
    data = made_up()
    holdout = last_ratings(data)
    targets = [holdout.relevance[user].indices.tolist() for user in range(4)]
    assert targets == [[data.items[n - 1]] for n in data.starts[1:]]


def test_without_the_time_all_that_precedes_it_in_the_file_is_known() -> None:
    data = made_up()
    last = data.starts[2] - 1
    times = data.times.copy()
    times[last - 3 : last] = times[last]  # a page
    named = last_ratings(replace(data, times=times))
    withheld = without_time(named)
    assert (named.past.lengths - named.known.lengths).tolist() == [0, 3, 0, 0]
    assert np.array_equal(withheld.known.items, named.past.items)
    assert (withheld.times <= named.times + 1).all()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("last")
    write_artifacts(folder, recipe="default", users=24)
    return Settings(recipe_name="default", exchange_dir=folder)


def test_histories_reach_to_the_last_rating(released: Settings) -> None:
    data = read_with_holdout(released).data
    found = served.known_states(released.exchange_dir, last_ratings(data))
    for user, state in enumerate(found):
        own = slice(data.starts[user], data.starts[user + 1] - 1)
        assert state.history.itemids.tolist() == data.itemids[data.items[own] - 1][::-1].tolist()
        assert state.history.times.tolist() == data.times[own][::-1].tolist()


def test_every_list_with_and_without_the_time(released: Settings) -> None:
    found = of_the_last(released)
    names = {f"{name}, {how} the time" for name in ("recall", "ranked") for how in ("with", "without")}
    assert set(found["table"]) == names
    for row in found["table"].values():
        assert 0 <= row["hr@10"] <= row["hr@50"] <= row["hr@200"] <= 1
        assert row["hr@200"] > 0
        assert row["ndcg@10"] <= row["hr@10"]
