"""The last rating of every user, from the artifacts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.settings import Settings
from offline.evaluation import served
from offline.readers import read_with_holdout
from research.experiments import leave_one_out
from research.experiments.leave_one_out import last_ratings, states, without_time
from tests.synthetic_release import write_artifacts
from tests.unit.offline.evaluation.made_up import made_up


def test_the_last_rating_is_the_target_liked_or_not() -> None:
    data = made_up()
    holdout = last_ratings(data)
    assert holdout.relevance.sum() == data.n_users
    assert [holdout.relevance[user].indices.tolist() for user in range(4)] == [
        [data.items[n - 1]] for n in data.starts[1:]
    ]


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


@pytest.fixture(scope="module", params=["source", "default"])
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("last")
    write_artifacts(folder, recipe=request.param, users=24)
    return Settings(recipe_name=request.param, exchange_dir=folder)


def test_histories_reach_to_the_last_rating(released: Settings) -> None:
    data = read_with_holdout(released).data
    holdout = last_ratings(data)
    found = states(holdout, served.read_states(released.exchange_dir, data))
    for user, state in enumerate(found):
        own = slice(data.starts[user], data.starts[user + 1] - 1)
        assert state.history.itemids.tolist() == data.itemids[data.items[own] - 1][::-1].tolist()
        assert state.history.times.tolist() == data.times[own][::-1].tolist()


def test_every_list_with_and_without_the_time(released: Settings) -> None:
    found = leave_one_out.measure(released)
    assert set(found["table"]) == {
        f"{name}, {how} the time" for name in ("recall", "ranked") for how in ("with", "without")
    }
    for row in found["table"].values():
        assert 0 <= row["hr@10"] <= row["hr@50"] <= row["hr@200"] <= 1
        assert row["hr@200"] > 0
        assert row["ndcg@10"] <= row["hr@10"]
