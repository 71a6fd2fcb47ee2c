"""Scores of an item-item matrix."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from data_exchange_center.channels import Requests
from extras.models.channel import ItemItem

ITEMS = 30


@pytest.mark.parametrize(("share", "dense"), [(1.0, True), (0.1, False)])
def test_scores_are_sums_of_the_rows_of_a_users_items(
    share: float, dense: bool
) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(ITEMS + 1, ITEMS + 1)).astype(np.float32) * (
        rng.random((ITEMS + 1, ITEMS + 1)) < share
    )
    weights[0] = weights[:, 0] = 0
    matrix = sp.csr_matrix(weights)
    known = np.arange(ITEMS + 1) > 0
    channel = ItemItem(
        "model", 10, matrix.data, matrix.indices, matrix.indptr.astype(np.int64), known
    )
    items = np.array([[3, 5, 3, 0], [0, 0, 0, 0]])
    zeros = np.zeros_like(items)
    scores = channel.scores(
        Requests(
            items,
            zeros,
            zeros,
            np.array([3, 0]),
            np.zeros((2, 1), int),
            np.zeros(2, int),
        )
    )
    assert (channel.rows is not None) == dense
    np.testing.assert_allclose(
        scores[0, known], (weights[3] + weights[5])[known], rtol=1e-6
    )
    assert np.all(scores[1] == scores[0, 0])  # not found
