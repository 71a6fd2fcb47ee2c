"""The cuts of each protocol, and what is compared there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.replay import gaps
from offline.data.sequences import Sequences
from research import papers
from research.evaluation import protocols
from research.evaluation.protocols import (
    AS_OF_NOW,
    AT_ITS_TIME,
    compared,
    holdout_at,
    last_sessions,
)
from research.papers import WITH, WITHOUT, fitted, measured, requests, targets
from research.papers_movielens import distinct_times, prepare
from tests.unit.offline.data.ratings import events_of
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of
from tests.unit.offline.synthetic import made_up_movielens, run_steps

HOUR, DAY = 3600, 86_400


def of_times(times: list[list[int]]) -> Sequences:
    """Each user likes other items, at these times."""
    items = [list(range(1, len(own) + 1)) for own in times]
    return events_of(
        items, [[5] * len(own) for own in times], times, max(map(len, times))
    )


def test_the_last_session_is_held_out() -> None:
    session = list(range(0, 300, 60))  # five events within minutes
    data = of_times(
        [
            [*session, 240 + HOUR, 250 + HOUR],
            [*session, 240 + HOUR - 1],  # no break of an hour
            [*session[:4], DAY],  # too few before it
            [*session, DAY, 3 * DAY, 3 * DAY + 1],
        ]
    )
    holdout = last_sessions(data)
    assert holdout.past.lengths.tolist() == [5, 6, 5, 6]
    assert np.asarray(holdout.relevance.sum(axis=1)).ravel().tolist() == [2, 0, 0, 2]
    assert holdout.times.tolist() == [240 + HOUR, 0, 0, 3 * DAY]
    assert gaps(holdout.past, holdout.times)[[0, 3]].tolist() == [HOUR, 2 * DAY]


def test_at_one_moment_for_all_nothing_later_is_known() -> None:
    data = inputs_of(np.zeros(USERS - 1, dtype=int)).data
    # each starts a little later than the one before
    times = data.times + 1000 * data.users
    data = replace(data, times=times)
    time = 20_000
    holdout = holdout_at(data, time, 3)
    assert holdout.past.times.max() < time
    assert holdout.past.lengths.sum() == (times < time).sum()
    liked = np.asarray(
        holdout.relevance.sum(axis=1) + holdout.disliked.sum(axis=1)
    ).ravel()
    started = holdout.past.lengths > 0
    assert (liked[~started] == 0).all()
    assert set(liked[started]) <= {1, 2, 3, 0}
    user = int(np.flatnonzero(started)[-1])
    first = data.starts[user] + holdout.past.lengths[user]
    assert holdout.times[user] == times[first] >= time


def test_as_of_now_those_alone_count_who_came_back() -> None:
    session = list(range(0, 300, 60))
    holdout = holdout_at(
        of_times([[*session, 400], [*session, 300 + 40 * DAY], [*session, 300 + DAY]]),
        301,
        3,
    )
    requested: list[int] = []

    def answer(at: protocols.Holdout) -> tuple[np.ndarray, np.ndarray]:
        requested.append(int(at.times.min()))
        wanted = np.full((3, 50), 0)
        wanted[:, 0] = 6  # each user's next item
        return np.zeros_like(wanted), wanted

    found = compared(holdout, answer)
    assert requested[0] == 400
    assert requested[1] > 10**9
    users = {
        when: {name: row["users"] for name, row in groups.items()}
        for when, groups in found.items()
    }
    gap = {"a day to a month": 1, "a month and longer": 1}
    assert users[AT_ITS_TIME] == {"all": 3, "below an hour": 1, **gap, "few ratings": 3}
    assert users[AS_OF_NOW] == {"all": 2, **gap, "few ratings": 2}
    row = found[AS_OF_NOW]["all"]
    assert (
        row["ranked"]["ndcg@50"],
        row["recall"]["ndcg@50"],
        row["difference"]["ndcg@50"]["low"],
    ) == (1, 0, 1)


# The papers' protocol on users who take the items in turn.


def test_requests_know_all_before_and_their_time_or_not() -> None:
    data = events_of(
        [[1, 2, 3], [2], [3, 1]], [[5] * 3, [5], [1, 1]], [[0, 7, 90], [5], [4, 5]]
    )
    last = targets(data, 1)
    assert data.items[last].tolist() == [3, 1]
    with_time, without = (requests(data, last, clock=clock) for clock in (True, False))
    assert with_time.positions.tolist() == [2, 1]
    assert with_time.times.tolist() == [90, 5]
    assert without.times.tolist() == [7 + papers.WITHOUT_S, 4 + papers.WITHOUT_S]


def test_metrics_by_rank_and_by_gap() -> None:
    lists = np.array([[1, 2, 3], [3, 2, 1], [1, 2, 3]])
    found = measured(lists, np.array([1, 1, 7]), np.array([1, 30, 4000]))
    assert found["hr@10"] == pytest.approx(2 / 3)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / np.log2(4)) / 3)
    assert {name: row["hr@10"] for name, row in found["by gap"].items()} == {
        "at once": 1,
        "a minute": 1,
        "later": 0,
    }


def test_nothing_of_the_target_or_later_is_fitted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    inputs = replace(
        inputs, data=replace(inputs.data, liked=np.ones_like(inputs.data.liked))
    )
    pasts, fit = [], papers.fit_stages
    monkeypatch.setattr(
        papers, "fit_stages", lambda *given: pasts.append(given[0]) or fit(*given)
    )
    row = fitted(inputs, RECIPE, target=2)
    assert (inputs.data.lengths - pasts[0].lengths)[:-1].tolist() == [2] * (USERS - 1)
    assert set(row["ranked"]) == {WITH, WITHOUT}
    assert row["ranked"][WITH]["hr@10"] > 0.5


# MovieLens as papers take it.


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
