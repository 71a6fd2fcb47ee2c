"""TAIW's filter and metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research.measure import taiw
from research.measure.taiw import before_two, filtered, target_baskets, theirs
from tests.unit.offline.data.ratings import events_of

DAY = taiw.DAY_S


def log(rows: list[tuple[str, str, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user", "item", "day"])


def test_users_of_few_days_and_rare_items_are_left_out() -> None:
    regular = [(user, "milk", day) for user in ("a", "b", "c") for day in range(5)]
    rare = [("a", "caviar", 0)]
    seldom = [("d", "milk", day) for day in range(4)]
    more = [("a", "milk", 0)]  # as no user may buy far more a day than the others
    kept = filtered(log([*regular, *more, *rare, *seldom]))
    assert kept.tolist() == [True] * 16 + [False] * 5


def test_users_of_too_many_purchases_a_day_are_left_out() -> None:
    regular = [(f"u{user}", "milk", day) for user in range(20) for day in range(5)]
    reseller = [("r", "milk", day) for day in range(5) for _ in range(50)]
    kept = filtered(log([*regular, *reseller]))
    assert kept.sum() == len(regular)


def test_metrics_count_an_item_as_often_as_bought() -> None:
    lists = np.array([[7, 8, *range(20, 28)]])
    recall, ndcg = theirs(lists, [[7, 7, 9]])
    ideal = sum(1 / np.log2(place + 2) for place in range(3))
    assert (recall, ndcg) == (pytest.approx(1 / 3), pytest.approx(1 / ideal))


def test_the_last_basket_is_the_target_and_two_are_left_out() -> None:
    data = events_of([[1, 2, 2, 3, 3]], [[1] * 5], [[0, DAY, DAY, 2 * DAY, 2 * DAY]])
    assert target_baskets(data, np.array([0])) == [[3, 3]]
    assert before_two(data.before_last(2)).items.tolist() == [1]
