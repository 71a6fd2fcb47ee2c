"""The source's scores, as Elasticsearch would give them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from data_exchange_center.recipes import RecallRecipe
from offline.evaluation.source import hybrid_scores, nearest


def test_scores_are_those_of_the_index() -> None:
    products = np.array([[2.0, -1.0, np.nan, np.nan]], dtype=np.float32)
    matches = np.array([[True, False, True, False]])
    found = hybrid_scores(products, matches, RecallRecipe(term_weight=2, vector_weight=3))
    assert found[0] == pytest.approx([2 + 3 * 3, 3 / 2, 2, -np.inf])


def test_order_is_the_inner_products_where_no_genre_matches() -> None:
    products = np.linspace(-9, 9, 50, dtype=np.float32)[None]
    found = hybrid_scores(products, np.zeros((1, 50), dtype=bool), RecallRecipe())
    assert (np.diff(found[0]) > 0).all()


def test_only_the_nearest_unseen_have_a_vector_score() -> None:
    products = np.array([[np.nan, 5, 4, 3, 2, np.nan], [np.nan] * 6], dtype=np.float32)
    seen = sp.csr_matrix(np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], dtype=np.float32))
    found = nearest(products, seen, 2)
    assert found[0] == pytest.approx([np.nan, np.nan, 4, 3, np.nan, np.nan], nan_ok=True)
    assert np.isnan(found[1]).all()
    assert (np.isfinite(nearest(products, seen, 100)[0]) == [False, False, True, True, True, False]).all()
