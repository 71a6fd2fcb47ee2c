"""AUC agrees with scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_distances

from research.evaluation import metrics

# AUC agrees with scikit-learn.


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(2, 25))
def test_auc_and_gauc_equal_scikit_learn(seed: int, users: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (users, rows)) / 4 - 1  # with ties
    labels = rng.choice([0, 1, np.nan], (users, rows))
    theirs, weights = np.full(users, np.nan), (~np.isnan(labels)).sum(axis=1)
    for user in range(users):
        there = ~np.isnan(labels[user])
        if len(set(labels[user, there])) == 2:
            theirs[user] = roc_auc_score(labels[user, there], scores[user, there])
    assert metrics.user_auc(scores, labels) == pytest.approx(theirs, nan_ok=True)
    measured = ~np.isnan(theirs)
    if measured.any():
        assert metrics.gauc(scores, labels) == pytest.approx(
            np.average(theirs[measured], weights=weights[measured])
        )
        there = ~np.isnan(labels)
        assert metrics.auc(scores[there], labels[there]) == pytest.approx(
            roc_auc_score(labels[there], scores[there])
        )
    else:
        assert math.isnan(metrics.gauc(scores, labels))


def test_diversity_is_mean_pairwise_cosine_distance() -> None:
    features = np.vstack([np.zeros(3), np.random.default_rng(1).random((8, 3))])
    lists = np.array([[1, 5, 3, 8], [2, 4, 0, 0], [7, 0, 0, 0]])
    full = cosine_distances(features[[1, 5, 3, 8]])[np.triu_indices(4, 1)].mean()
    pair = cosine_distances(features[[2, 4]])[0, 1]
    assert metrics.diversity(lists, features) == pytest.approx(
        [full, pair, np.nan], nan_ok=True
    )
    features[4] = 0
    assert metrics.diversity(lists, features)[1] == 1, (
        "an item without features is unlike every other"
    )


def test_gini_and_coverage() -> None:
    assert metrics.gini(np.array([[1, 2], [3, 4]]), 4) == pytest.approx(0)
    assert metrics.gini(np.array([[1], [1], [1]]), 1000) == pytest.approx(0.999)
    assert metrics.gini(np.array([[1]]), 1000) == pytest.approx(0.999)
    assert math.isnan(metrics.gini(np.array([[0, 0]]), 4))
    assert metrics.coverage(np.array([[1, 0], [1, 3]]), 4) == 0.5


def test_novelty_is_self_information() -> None:
    popularity = np.array([0, 0.5, 0.25, 0])
    assert metrics.novelty(
        np.array([[1, 2], [3, 0], [0, 0]]), popularity
    ) == pytest.approx([1.5, 2, np.nan], nan_ok=True)


# Groups of users, and judged answers.
