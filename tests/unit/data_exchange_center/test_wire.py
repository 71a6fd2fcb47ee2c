"""Byte layouts of the stores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from data_exchange_center import wire
from data_exchange_center.exact import hybrid_scores
from data_exchange_center.recipes import SOURCE
from data_exchange_center.wire import product_of_score, replacement, score_of_product
from data_exchange_center.words import words_of


@given(
    st.lists(st.floats(width=32, allow_nan=False)),
    st.lists(st.integers(-(2**31), 2**31 - 1)),
)
def test_vectors_and_ids_survive_the_wire(vector: list[float], ids: list[int]) -> None:
    assert wire.unpack_vector(wire.pack_vector(vector)).tolist() == vector
    assert wire.unpack_ids(wire.pack_ids(ids)).tolist() == ids
    # float32, little-endian
    assert wire.pack_vector(np.array([1.0])) == b"\x00\x00\x80\x3f"


PRODUCTS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30)


@given(PRODUCTS)
def test_scores_are_positive_monotonic_and_invertible(values: list[float]) -> None:
    products = np.array(values)
    scores = score_of_product(products)
    assert (scores > 0).all()
    assert (np.diff(scores[np.argsort(products)]) >= 0).all()
    np.testing.assert_allclose(product_of_score(scores), products, rtol=1e-9, atol=1e-9)


def test_elasticsearchs_own_examples() -> None:
    np.testing.assert_array_equal(
        score_of_product(np.array([0.0, 2.0, -1.0, -3.0])), [1.0, 3.0, 0.5, 0.25]
    )
    assert np.isnan(score_of_product(np.array([np.nan]))).all()
    assert score_of_product(np.zeros(1, np.float32)).dtype == np.float32


@pytest.mark.filterwarnings("error")
def test_genres_and_vectors_add_up() -> None:
    channel = SOURCE.recall.channels[0].model_copy(
        update={"term_weight": 2.0, "vector_weight": 0.5}
    )
    products = np.array([1.0, -1.0, np.nan, np.nan])
    scores = hybrid_scores(products, np.array([True, False, True, False]), channel)
    np.testing.assert_array_equal(scores, [2.0 + 0.5 * 2.0, 0.5 * 0.5, 2.0, np.nan])


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
