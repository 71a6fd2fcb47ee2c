from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.dataset import ItemNumber
from extras.own_data.attributes import MOST_LEVELS, intervals, item_number, levels
from extras.own_data.declaration import AttributeSpec, InteractionsTable

NUMERIC = AttributeSpec(kind="numeric")
PRICES = np.arange(1.0, 1001)


def number_of(values: np.ndarray, *others: float) -> ItemNumber:
    return item_number("price", "price", NUMERIC, np.append(values, others))


def test_a_value_that_most_share_is_an_interval_of_its_own() -> None:
    numbers = np.concatenate([np.zeros(95), np.arange(1.0, 11), [np.nan]])
    counts = intervals(numbers, NUMERIC).value_counts().to_dict()
    assert counts == {"below 1": 95, "1 or more": 10, "unknown": 1}


def test_large_numbers_keep_their_digits() -> None:
    names = intervals(np.arange(10_000_000.0, 10_000_080), NUMERIC)
    assert names.nunique() == 8
    assert names.iloc[0] == "below 10000010"


def test_a_single_dear_item_does_not_make_all_others_alike() -> None:
    usual, dear = number_of(PRICES), number_of(PRICES, 20_000)
    assert dear.width == pytest.approx(usual.width, rel=0.01)
    assert dear.scale == pytest.approx(usual.scale, rel=0.01)
    huge = number_of(PRICES, 1e12)
    assert 1e12 / huge.unit / huge.scale <= 100, "no input of a model is huge"


def test_a_number_that_nearly_all_or_none_share_has_a_width() -> None:
    number = number_of(np.zeros(99), 10.0)
    assert number.width == pytest.approx(0.75 * 10 / (len(number.centres) - 1))
    number = number_of(np.full(3, np.nan))
    assert (number.unit, number.scale, number.width) == (1, 1, 1)


quarters = st.integers(-40, 40).map(lambda n: n / 4)


@given(values=st.lists(quarters, min_size=1, max_size=300), above=quarters)
def test_levels_are_cut_at_quantiles_and_named_by_medians(
    values: list[float], above: float
) -> None:
    """The events' values and codes are those that numpy gives."""
    numbers = np.array(values)
    declared = InteractionsTable(
        user="u", item="i", time="t", value="v", positive_above=above
    )
    with duckdb.connect() as connection:
        connection.register("timed", pd.DataFrame({"number": numbers}))
        found = levels(connection, "timed", declared)
        query = f"SELECT {found.code} AS code FROM timed"
        codes = connection.execute(query).fetchnumpy()["code"]
    assert ((codes > found.positive) == (numbers > above)).all()
    assert len(found.values) <= MOST_LEVELS
    assert set(codes) == set(range(1, len(found.values) + 1))
    for code, value in enumerate(found.values, 1):
        assert value == np.median(numbers[codes == code])
    parts = [numbers[numbers <= above], numbers[numbers > above]]
    for part in filter(len, parts if found.binned else []):
        shares = [0.2, 0.4, 0.6, 0.8, 1]
        for edge in np.quantile(part, shares, method="inverted_cdf"):
            (code,) = set(codes[numbers == edge])
            assert edge == numbers[codes == code].max()
