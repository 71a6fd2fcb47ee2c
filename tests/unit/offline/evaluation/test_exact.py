"""Exact search finds what Elasticsearch would, without what was seen or never trained on."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from data_exchange_center.recipes import EaseRecipe, RecallRecipe
from offline.evaluation.served import ExactIndex, nearest

PLAIN = EaseRecipe(name="plain")
HYBRID = EaseRecipe(name="hybrid", term_weight=2, vector_weight=3)
WANTED = np.array([[0], [1]], dtype=np.float32)  # the second user prefers the genre


def test_only_the_nearest_unseen_have_a_vector_score() -> None:
    products = np.array([[np.nan, 5, 4, 3, 2, np.nan], [np.nan] * 6], dtype=np.float32)
    seen = sp.csr_matrix(np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], dtype=np.float32))
    found = nearest(products, seen, 2)
    assert found[0] == pytest.approx([np.nan, np.nan, 4, 3, np.nan, np.nan], nan_ok=True)
    assert np.isnan(found[1]).all()
    assert (np.isfinite(nearest(products, seen, 100)[0]) == [False, False, True, True, True, False]).all()


@pytest.fixture
def index() -> ExactIndex:
    """Items 1..4 with one number each, the third never trained; item 4 has the one genre."""
    vectors = np.array([[np.nan], [1.0], [-2.0], [np.nan], [3.0]], dtype=np.float32)
    genres = np.array([[0], [0], [0], [0], [1]], dtype=np.float32)
    recipe = RecallRecipe(channels=(PLAIN, HYBRID), candidates=3, num_candidates=2)
    return ExactIndex(recipe, {"plain": vectors, "hybrid": vectors}, genres)


def test_a_vector_search_answers_inner_products(index: ExactIndex) -> None:
    seen = sp.csr_matrix(np.array([[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=np.float32))
    one, two = index.search(PLAIN, np.array([[1.0], [-1.0]], dtype=np.float32), WANTED, seen)
    assert (one.ids.tolist(), one.scores.tolist()) == ([4, 2], [3.0, -2.0])
    assert (two.ids.tolist(), two.scores.tolist()) == ([2, 1, 4], [2.0, -1.0, -3.0])


def test_a_user_without_a_vector_is_found_by_genres_alone(index: ExactIndex) -> None:
    seen, nothing = sp.csr_matrix((2, 5), dtype=np.float32), np.full((2, 1), np.nan, dtype=np.float32)
    nobody, by_genre = index.search(HYBRID, nothing, WANTED, seen)
    assert len(nobody.ids) == 0
    assert (by_genre.ids.tolist(), by_genre.scores.tolist()) == ([4], [2.0])


def test_a_genre_adds_to_the_vector(index: ExactIndex) -> None:
    seen = sp.csr_matrix((2, 5), dtype=np.float32)
    plain, found = index.search(HYBRID, np.array([[1.0], [-1.0]], dtype=np.float32), WANTED, seen)
    assert (plain.ids.tolist(), plain.scores.tolist()) == ([4, 1, 2], [3.0, 1.0, -2.0])  # without genres
    assert found.ids.tolist() == [2, 4, 1]  # 4 is not among the two nearest and earns its genre alone
    assert found.scores == pytest.approx([3 * 3, 2, 3 / 2])
