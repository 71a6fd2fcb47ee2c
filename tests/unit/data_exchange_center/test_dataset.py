"""Description of a data set: holdout, numbers, terms."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_exchange_center.dataset import Dataset, HoldoutRule, ItemNumber
from offline.data.split import holdout_sizes
from tests.datasets import STARS


def test_a_basket_has_no_longest_holdout() -> None:
    rules = (
        HoldoutRule(basket=True),
        HoldoutRule(last=3),
        HoldoutRule(share=0.1, at_most=7),
    )
    assert [rule.longest for rule in rules] == [None, 3, 7]


@given(
    st.lists(st.integers(0, 400), max_size=20),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
    st.integers(3, 400),
)
@example([100], 0.29, 0, 400)  # 0.29 * 100 is a little less than 29
def test_a_share_is_held_out_within_its_bounds(
    lengths: list[int], share: float, least: int, most: int
) -> None:
    rule = HoldoutRule(share=share, at_least=least, at_most=most)
    bounded = [max(least, min(most, int(share * n + 1e-9))) for n in lengths]
    assert held_out(rule, lengths) == list(map(min, lengths, bounded))


def held_out(rule: HoldoutRule, lengths: list[int]) -> list[int]:
    of_users = np.array(lengths, int)
    return holdout_sizes(rule, of_users, of_users).tolist()


def test_a_share_of_0_and_a_final_data_set_hold_nothing_out() -> None:
    lengths = [0, 1, 30, 400]
    final = STARS.model_copy(update={"final": True})
    for rule in (HoldoutRule(share=0.0), final.holdout_now):
        assert held_out(rule, lengths) == [0] * 4
    assert STARS.holdout_now == STARS.holdout


def test_the_last_basket_of_those_who_have_two_is_held_out() -> None:
    lengths, newest = np.array([[0, 3, 3, 8], [0, 3, 1, 5]])
    found = holdout_sizes(HoldoutRule(basket=True), lengths, newest)
    assert found.tolist() == [0, 0, 1, 5]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"share": 0.1, "at_least": 20}, r"at_least \(20\) must not be above"),
        ({"last": 5, "at_most": 2}, "at_least and at_most are bounds of a share"),
        ({}, "exactly one of last, share"),
        ({"last": 3, "share": 0.1}, "exactly one of last, share"),
    ],
)
def test_bounds_that_cannot_hold_are_refused(
    rule: dict[str, float], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        HoldoutRule.model_validate(rule)


def test_a_number_is_stored_in_its_unit_and_zero_where_unknown() -> None:
    price = ItemNumber(name="Price", column="price", unit=0.01)
    assert price.stored(np.array([19.99, np.nan, -0.5])).tolist() == [1999, 0, -50]


def test_a_term_of_several_attributes_names_its_own() -> None:
    assert STARS.term("genres", "Sci-Fi: new") == "Sci-Fi: new"
    assert STARS.attribute_and_value("Sci-Fi: new") == ("genres", "Sci-Fi: new")
    shop = STARS.model_copy(update={"terms": ("brand", "kind")})
    assert shop.term("kind", "lamp: desk") == "kind: lamp: desk"
    assert shop.attribute_and_value("kind: lamp: desk") == ("kind", "lamp: desk")


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        *((name, False) for name in ("../../..", "a/b", ".hidden", "", "shop+other")),
        ("x" * 200, False),
        *((name, True) for name in ("ml-1m", "ml-1m+events+final", "läden_2.0")),
    ],
)
def test_a_name_is_part_of_a_path(name: str, fits: bool) -> None:
    with nullcontext() if fits else pytest.raises(ValidationError, match="name"):
        Dataset.model_validate(STARS.model_dump() | {"name": name})
