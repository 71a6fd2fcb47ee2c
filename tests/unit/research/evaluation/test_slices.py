"""Groups of users, and judged answers."""

from __future__ import annotations

import numpy as np

from offline.evaluation import replay
from offline.evaluation.replay import Answers
from research.evaluation.slices import judged_answers, slices
from tests.unit.offline.evaluation.test_replay import (
    LAST_FOUR,
    made_up,
    rated_one_page,
)


def test_the_groups_by_time_are_of_the_requests() -> None:
    by_name = slices(replay.hold_out(made_up(), LAST_FOUR))
    assert by_name["returning"].tolist() == [True, False, False, False]
    assert by_name["same session"].tolist() == [False, True, True, True]
    by_name = slices(replay.hold_out(rated_one_page(), LAST_FOUR))
    assert by_name["first of its second"].tolist() == [True, False, True, True]


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
