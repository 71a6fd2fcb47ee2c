from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline.evaluation import replay
from research.evaluation.baselines import baselines
from tests.unit.offline.evaluation.test_replay import (
    LAST,
    LAST_FOUR,
    made_up,
    rated_one_page,
)


def test_later_likes_change_no_baseline() -> None:
    data = made_up()
    late = data.positions >= np.repeat(data.lengths - LAST, data.lengths)
    other = replace(data, liked=np.where(late, ~data.liked, data.liked))
    one, two = replay.hold_out(data, LAST_FOUR), replay.hold_out(other, LAST_FOUR)
    assert all(
        map(np.array_equal, baselines(one, 9).values(), baselines(two, 9).values())
    )


def test_a_baselines_list_is_full_after_judging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Removed items leave no place empty."""
    monkeypatch.setattr(replay, "SHOWN", 5)
    holdout = replay.hold_out(rated_one_page(), LAST_FOUR)
    for lists in baselines(holdout, 5).values():
        assert (holdout.judged(lists) > 0).all()
