"""Which requests the ranker is trained on, and how their lists are searched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_exchange_center.recipes import DEFAULT, ListRankerRecipe
from offline.data import lists
from offline.data.lists import ListsConfig
from offline.data.requests import Points
from tests.unit.offline.data.ratings import made_up_ratings

RANKER = ListRankerRecipe(seed=7, stride=3, past=0.4)
ASKED = ListsConfig.of(DEFAULT.model_copy(update={"ranker": RANKER}))
DATA = made_up_ratings(users=30, events=12)
DATA = replace(DATA, times=DATA.times * 3600)  # each event is a return


def test_requests_come_after_what_the_teachers_know_and_returns_come_years_later_too() -> None:
    points = ASKED.requests(DATA)
    assert len(points) > 50
    assert (points.positions >= DATA.earlier_lengths(0.4)[points.users]).all()
    assert (points.times > DATA.times.max()).mean() == 0.5
    again = ASKED.requests(DATA)
    assert points.times.tolist() == again.times.tolist()


@pytest.mark.parametrize(("seen", "expected"), [(1, [1, 2, 3, 4, 5]), (7, [2, 4, 5]), (10**6, [3, 5])])
def test_no_chunk_has_too_many_points_nor_has_seen_too_much(
    monkeypatch: pytest.MonkeyPatch, seen: int, expected: list[int]
) -> None:
    monkeypatch.setattr(lists, "SEEN", seen)
    monkeypatch.setattr(lists, "CHUNK", 3)
    points = Points(np.arange(5), np.array([3, 4, 2, 5, 9]), np.zeros(5, np.int64))
    assert lists._ends(points) == expected
