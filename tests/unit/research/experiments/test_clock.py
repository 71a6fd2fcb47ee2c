"""The same targets, requested at three times."""

from __future__ import annotations

import time

import numpy as np

from offline.evaluation import replay
from offline.evaluation.served import best_unseen
from research.experiments.other_cuts import HOUR_LATER, NOW, ROWS, SITTING, clock_table, later
from tests.unit.offline.evaluation.made_up import LAST_FOUR, N_ITEMS, made_up


def test_later_the_targets_are_the_same() -> None:
    holdout = replay.hold_out(made_up(), LAST_FOUR)
    asked = later(holdout)
    assert np.array_equal(asked[HOUR_LATER].times, holdout.times + 3600)
    assert abs(asked[NOW].times - time.time()).max() < 60
    for each in asked.values():
        assert each.relevance is holdout.relevance
        assert np.array_equal(each.known.items, holdout.past.items)


def test_each_row_is_the_mean_of_its_users() -> None:
    holdout = replay.hold_out(made_up(), LAST_FOUR)
    perfect = np.pad(best_unseen(holdout.relevance.toarray(), holdout.past.seen(), N_ITEMS), ((0, 0), (0, 160)))
    forgotten = perfect.copy()
    forgotten[0] = 0  # the one who comes back
    found = clock_table({SITTING: (holdout, {"any": perfect}), NOW: (holdout, {"any": forgotten})})
    assert list(found) == ["all", *ROWS]
    users = found["all"]["any"][NOW]["users"]
    assert found["all"]["any"][SITTING] == {"users": users, "recall@200": 1, "recall@50": 1, "ndcg@50": 1}
    assert found["all"]["any"][NOW]["recall@50"] == 1 - 1 / users
    assert found["returning"]["any"][NOW] == {"users": 1, "recall@200": 0, "recall@50": 0, "ndcg@50": 0}
