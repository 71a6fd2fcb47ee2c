from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.features import Float32
from extras.diversity.hook import diverse_order, rarity, similarity_rows


def rows(n: int, seed: int = 0) -> Float32:
    drawn = np.random.default_rng(seed).normal(size=(n, 6))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 40), st.floats(0.01, 1), st.integers(1, 40), st.integers(0, 5))
def test_each_choice_is_the_best_of_what_is_left(
    n: int, diversity: float, size: int, seed: int
) -> None:
    each, rarities = rows(n, seed), np.random.default_rng(9).random(n)
    found = diverse_order(each, rarities.astype(np.float32), diversity, size)
    left = np.ones(n, np.bool_)
    for place, choice in enumerate(found[:size]):
        chosen = each[found[:place]]
        alike = (each @ chosen.T).sum(axis=1) / max(place, 1)
        relevance = 1 / np.log2(np.arange(n) + 2)
        worth = (1 - diversity) * relevance - diversity * (alike - rarities / 2)
        assert worth[choice] >= worth[left].max() - 1e-6
        left[choice] = False
    assert found[size:].tolist() == np.flatnonzero(left).tolist()


def test_rarity_is_self_information_by_that_of_the_rarest() -> None:
    found = rarity(np.array([1.0, 0.1, 0.01, 0.0]))
    np.testing.assert_allclose(found, [0, 0.5, 1, 1], rtol=1e-6)
    for nothing in ([0.0, 0.0], [1.0, 1.0], [2.0, 0.0], []):
        assert not rarity(np.array(nothing)).any()


FLAGS = np.eye(4, dtype=np.float32)[np.arange(60) % 4]
NO_FLAGS = np.zeros((60, 0), np.float32)


def vectors(seed: int, dim: int = 5) -> Float32:
    return np.random.default_rng(seed).normal(size=(60, dim)).astype(np.float32)


def cosine(one: Float32, other: Float32) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_half_is_terms_and_half_is_vectors() -> None:
    one, other = vectors(0), vectors(1, 7)
    rows = similarity_rows([one, other], FLAGS)
    for n, terms in ((7, 1.0), (8, 0.0)):
        expected = terms / 2 + (cosine(one[3], one[n]) + cosine(other[3], other[n])) / 4
        assert float(rows[3] @ rows[n]) == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose((rows**2).sum(axis=1), 1, rtol=1e-5)


def test_an_item_without_a_vector_has_no_similarity() -> None:
    known = vectors(0)
    known[8] = np.nan
    rows = similarity_rows([known], NO_FLAGS)
    assert np.isfinite(rows).all()
    assert not rows[8].any()
