from __future__ import annotations

import numpy as np
import pytest

from data_exchange_center.features import Float32
from extras.diversity.diversity import similarity_rows

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


def test_where_there_is_one_side_it_is_all() -> None:
    for rows in (similarity_rows([vectors(0)], NO_FLAGS), similarity_rows([], FLAGS)):
        np.testing.assert_allclose((rows**2).sum(axis=1), 1, rtol=1e-5)
    assert similarity_rows([], NO_FLAGS).shape == (60, 0)


def test_an_item_without_a_vector_is_neither_like_nor_unlike_others_by_it() -> None:
    known = vectors(0)
    known[8] = np.nan
    rows = similarity_rows([known], NO_FLAGS)
    assert np.isfinite(rows).all()
    assert not rows[8].any()
