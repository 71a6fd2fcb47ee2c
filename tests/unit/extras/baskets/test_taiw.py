"""The filter of TAIW's authors."""

from __future__ import annotations

import pandas as pd

from extras.baskets.taiw import filtered

COLUMNS = ["user", "item", "day"]


def test_users_of_few_days_and_rare_items_are_left_out() -> None:
    regular = [(user, "milk", day) for user in ("a", "b", "c") for day in range(5)]
    rare = [("a", "caviar", 0)]
    seldom = [("d", "milk", day) for day in range(4)]
    more = [("a", "milk", 0)]  # as no user may buy far more a day than the others
    kept = filtered(pd.DataFrame([*regular, *more, *rare, *seldom], columns=COLUMNS))
    assert kept.tolist() == [True] * 16 + [False] * 5


def test_users_of_too_many_purchases_a_day_are_left_out() -> None:
    regular = [(f"u{user}", "milk", day) for user in range(20) for day in range(5)]
    reseller = [("r", "milk", day) for day in range(5) for _ in range(50)]
    kept = filtered(pd.DataFrame([*regular, *reseller], columns=COLUMNS))
    assert kept.sum() == len(regular)
