"""Byte layouts of the stores."""

import numpy as np
import pytest
from redis.crc import key_slot

from data_exchange_center import wire
from data_exchange_center.wire import replacement, score_of_product
from data_exchange_center.words import words_of


def test_elasticsearchs_own_examples() -> None:
    np.testing.assert_array_equal(
        score_of_product(np.array([0.0, 2.0, -1.0, -3.0])), [1.0, 3.0, 0.5, 0.25]
    )
    assert np.isnan(score_of_product(np.array([np.nan]))).all()
    assert score_of_product(np.zeros(1, np.float32)).dtype == np.float32


RELEASE = "aaaaaaaaaaaa"


def test_a_replacement_key_has_the_same_slot_and_release() -> None:
    for key in (wire.ids_key(RELEASE), wire.event_counts_key(RELEASE)):
        assert key_slot(replacement(key).encode()) == key_slot(key.encode())
        assert replacement(key).startswith(f"ml:{RELEASE}:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Amélie's Animated Wars", ["amelie", "anim", "war"]),
        ("Animation, Children's", ["anim", "children"]),
        ("Misérables, Les (1995)", ["miserabl", "les", "1995"]),
        ("the king", ["the", "king"]),
        ("黑客帝国 2", ["黑", "客", "帝", "国", "2"]),
        ("Film-Noir_x", ["film", "noir", "x"]),
        ("", []),
        ("!?", []),
        ("तारे ज़मीन पर", ["तारे", "ज़मीन", "पर"]),
        ("தமிழ் படம்", ["தமிழ்", "படம்"]),
        ("ฉลาดเกมส์โกง 2", ["ฉลาดเกมส์โกง", "2"]),
    ],
)
def test_words_are_searched_as_they_are_indexed(text: str, words: list[str]) -> None:
    assert words_of(text) == words
