from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extras.search.text import (
    TextQuery,
    Words,
    blended,
    searched_words,
)

NONE = np.empty(0, np.int32)
ITEMS: dict[int, tuple[str, dict[str, Any]]] = {
    2: ("Matrix, The (1999)", {"genres": ["Action", "Sci-Fi"], "year": 1999}),
    3: ("Iron Giant, The (1999)", {"genres": ["Animation", "Children's"]}),
    5: ("Misérables, Les (1995)", {"genres": ["Drama"], "year": None}),
    7: ("Drama Queens (1996)", {"genres": ["Comedy"]}),
    8: ("It (1990)", {"genres": []}),
    9: ("黑客帝国", {"genres": ["动作"]}),
}


def query(*words: str, seen: Any = NONE, only: Any = None) -> TextQuery:
    return TextQuery("aaaaaaaaaaaa", words, seen, only)


def found(text: str, **limits: Any) -> list[int]:
    return Words(ITEMS).find(query(*searched_words(text), **limits)).ids.tolist()


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("the matrix", 2),
        ("les miserables", 5),
        ("it", 8),
        ("children", 3),
        ("sci-fi", 2),
        ("queen", 7),
        ("动作", 9),
        ("animated film", 3),
        ("黑客", 9),
    ],
)
def test_titles_and_attributes_are_found_by_their_words(text: str, first: int) -> None:
    assert found(text)[0] == first


def test_title_words_count_more_than_attributes() -> None:
    assert found("drama") == [7, 5]


def test_memory_search_is_limited_to_the_items_allowed() -> None:
    assert set(found("1999")) == {2, 3}
    assert found("1999", seen=np.array([2], np.int32)) == [3]
    assert found("1999", only=np.array([2, 5])) == [2]
    assert found("nothing of this") == []
    assert len(Words({}).find(query("x")).ids) == 0


def test_words_of_further_items_count_as_among_the_others() -> None:
    whole = Words(ITEMS)
    further = Words({2: ITEMS[2]}, whole)
    for words in (["matrix"], ["sci"], ["matrix", "1999"]):
        hits = whole.find(query(*words))
        expected = float(hits.scores[hits.ids == 2][0])
        assert further.find(query(*words)).scores.tolist() == pytest.approx([expected])


def test_query_has_each_word_once_without_stop_words() -> None:
    assert searched_words("A film about the Wars of the war") == ("war",)
    assert searched_words("It") == ("it",), "there is no other"


def test_blend_of_words_and_ranker() -> None:
    text = np.array([1.0, 0.0, 3.0, 2.0])
    assert blended(text, 1.0).tolist() == [2, 3, 0, 1]
    assert blended(text, 0.0).tolist() == [0, 1, 2, 3]
    assert blended(text, 0.9).tolist() == [2, 3, 0, 1]
    assert blended(np.full(3, 2.0), 0.9).tolist() == [0, 1, 2], (
        "equal by words: the ranker's order"
    )
    assert blended(np.empty(0), 0.5).tolist() == []
    assert blended(np.zeros(2), 0.5).tolist() == [0, 1]
