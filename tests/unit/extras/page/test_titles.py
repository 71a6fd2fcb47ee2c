from __future__ import annotations

import pytest

from extras.page.hook import TitleSearch

SEARCH = TitleSearch.of(
    [(4, "Titanic (1997)"), (1, "Amélie (2001)"), (2, "Star Wars (1977)"), (3, "Wars of the Stars"), (5, "A Bad Start")]
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("amelie", [1]),
        ("AMÉLIE 2001", [1]),
        ("star", [2, 3, 5]),
        ("wars star", [2, 3]),
        ("tar", [2, 3, 5]),
        ("art", [5]),
        ("nothing", []),
    ],
)
def test_every_word_is_in_the_title_and_the_best_known_come_first(text: str, found: list[int]) -> None:
    assert SEARCH.find(text, 10) == found


def test_words_that_begin_so_come_before_the_others() -> None:
    search = TitleSearch.of([(1, "Restart"), (2, "Start")])
    assert search.find("start", 10) == [2, 1]
    assert search.find("start", 1) == [2]
