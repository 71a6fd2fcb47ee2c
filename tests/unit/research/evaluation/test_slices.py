"""Groups of users, and judged answers."""

from __future__ import annotations

import numpy as np
import pytest

from offline.evaluation import replay
from offline.evaluation.replay import Answers
from research.evaluation.slices import judged_answers, slices
from tests.unit.offline.evaluation.test_replay import (
    LAST_FOUR,
    N_ITEMS,
    made_up,
    rated_one_page,
)


def test_the_groups_by_time_are_of_the_requests() -> None:
    by_name = slices(replay.hold_out(made_up(), LAST_FOUR))
    assert by_name["returning"].tolist() == [True, False, False, False]
    assert by_name["same session"].tolist() == [False, True, True, True]
    by_name = slices(replay.hold_out(rated_one_page(), LAST_FOUR))
    assert by_name["first of its second"].tolist() == [True, False, True, True]


def test_users_without_a_past_are_in_no_time_slice() -> None:
    data = made_up()
    nothing = data.select(np.zeros(len(data.items), dtype=bool))
    by_name = slices(replay.holdout_of(nothing, data))
    assert not any(
        by_name[name].any()
        for name in ("first of its second", "returning", "same session")
    )


def test_answers_are_judged_with_their_scores() -> None:
    data = rated_one_page()
    first = data.starts[2] - 4
    lists = np.array([[5, 0, 0, 0, 0]] * 4)
    lists[1] = [data.items[first - 2], 39, data.items[first - 1], 40, 0]
    answers = Answers(
        {"one": lists}, lists, lists, np.where(lists > 0, np.linspace(1, 0, 5), np.nan)
    )
    judged = judged_answers(replay.hold_out(data, LAST_FOUR), answers)
    for each in (judged.channels["one"], judged.fused, judged.ranked):
        assert each.tolist() == [
            [5, 0, 0, 0, 0],
            [39, 40, 0, 0, 0],
            [5, 0, 0, 0, 0],
            [5, 0, 0, 0, 0],
        ]
    assert np.array_equal(
        judged.scores[1], [0.75, 0.25, np.nan, np.nan, np.nan], equal_nan=True
    )


def test_lists_are_full_after_judging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed items leave no place of the ranker's list empty."""
    monkeypatch.setattr(replay, "SHOWN", 5)
    holdout = replay.hold_out(rated_one_page(), LAST_FOUR)
    page = holdout.past.items[holdout.past.users == 1][-2:]
    ranked = np.tile(
        np.r_[
            page,
            np.setdiff1d(
                np.arange(1, N_ITEMS + 1), holdout.past.items[holdout.past.users == 1]
            )[:5],
        ],
        (4, 1),
    )
    shown = judged_answers(
        holdout, Answers({}, ranked, ranked, -np.arange(7.0) + np.zeros((4, 1)))
    )
    assert shown.ranked.shape == shown.scores.shape == (4, 5)
    assert shown.ranked[1].tolist() == ranked[1, 2:].tolist()
    assert shown.scores[1].tolist() == [-2, -3, -4, -5, -6]
