from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.dataset import MAX_INTEGER, OwnIds, kind_of, own_id

numbers = st.lists(st.integers(1, MAX_INTEGER), unique=True, max_size=20)


@given(numbers)
def test_whole_numbers_are_what_they_were(ids: list[int]) -> None:
    known = OwnIds(ids, [str(each) for each in ids], "integer")
    assert dict(known) == known.numbers == {each: each for each in ids}
    assert {kind_of(own) for own in known.values()} <= {"integer"}


@given(st.lists(st.text(min_size=1), unique=True, max_size=20))
def test_strings_of_any_content_go_both_ways(texts: list[str]) -> None:
    known = OwnIds(range(1, len(texts) + 1), texts, "string")
    assert list(known.values()) == texts
    assert all(known[number] == text for text, number in known.numbers.items())
    assert {kind_of(own) for own in known.values()} <= {"string"}


def test_a_string_of_digits_stays_one() -> None:
    assert own_id("7", "string") == "7"
    assert own_id("7", "integer") == 7


def test_a_number_that_nobody_has_is_not_there() -> None:
    known = OwnIds([1], ["u-1"], "string")
    assert 2 not in known
    assert "u-2" not in known.numbers
    with pytest.raises(ValueError, match="zip"):
        OwnIds([1, 2], ["u-1"], "string")
