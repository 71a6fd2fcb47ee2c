"""TAIW's targets and metrics."""

from __future__ import annotations

import numpy as np
import pytest

from research.measure import taiw
from research.measure.taiw import before_two, target_baskets, theirs
from tests.unit.offline.data.ratings import events_of

DAY = taiw.DAY_S


def test_metrics_count_an_item_as_often_as_bought() -> None:
    lists = np.array([[7, 8, *range(20, 28)]])
    recall, ndcg = theirs(lists, [[7, 7, 9]])
    ideal = sum(1 / np.log2(place + 2) for place in range(3))
    assert (recall, ndcg) == (pytest.approx(1 / 3), pytest.approx(1 / ideal))


def test_the_last_basket_is_the_target_and_two_are_left_out() -> None:
    data = events_of([[1, 2, 2, 3, 3]], [[1] * 5], [[0, DAY, DAY, 2 * DAY, 2 * DAY]])
    assert target_baskets(data, np.array([0])) == [[3, 3]]
    assert before_two(data.before_last(2)).items.tolist() == [1]
