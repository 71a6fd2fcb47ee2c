"""Column names out of any names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.columns import Columns
from offline.data.terms import LONGEST_SLUG, clicks, genre_columns, impressions, slugs

GENRES = ("Action", "Children's", "Film-Noir", "Sci-Fi")


def test_genres_of_movielens_have_their_plain_names() -> None:
    assert slugs(GENRES) == ["action", "childrens", "film_noir", "sci_fi"]
    assert impressions(GENRES)[1] == "imp_childrens"
    assert clicks(GENRES)[2] == "click_film_noir"
    assert genre_columns(GENRES)[3] == "genre_sci_fi"


@given(st.lists(st.text(max_size=80), unique=True, max_size=30))
def test_slugs_are_different_and_fit_every_store(names: list[str]) -> None:
    made = slugs(names, Columns.TAKEN)
    assert len(set(made)) == len(names)
    assert not set(made) & Columns.TAKEN
    for each in made:
        assert re.fullmatch(r"[a-z0-9_]+", each)
        assert len(each) <= LONGEST_SLUG + 9


@pytest.mark.parametrize("name", sorted(Columns.TAKEN))
def test_a_name_that_a_column_has_gets_a_suffix(name: str) -> None:
    assert re.fullmatch(rf"{name}_[0-9a-f]{{8}}", *slugs([name], Columns.TAKEN))


@given(st.permutations(["C", "C++", "C#", "映画", "", "Title", "title"]))
def test_a_name_has_the_same_slug_in_any_order(names: list[str]) -> None:
    expected = dict(zip(sorted(names), slugs(sorted(names)), strict=True))
    assert slugs(names) == [expected[name] for name in names]
