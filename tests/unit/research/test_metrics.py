"""AUC agrees with scikit-learn."""

import math

import numpy as np
import pytest
import pytrec_eval
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_distances

from extras.replay import hits
from research.evaluation import metrics, report

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


# Definitions agree with trec_eval.


N_ITEMS = 30
METRICS = {
    "recall": metrics.recall,
    "ndcg_cut": metrics.ndcg,
    "success": metrics.hit_rate,
}
PERMUTED = st.permutations(range(1, N_ITEMS + 1))
LIKED = st.sets(st.integers(1, N_ITEMS), max_size=12)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(PERMUTED, LIKED), min_size=1, max_size=6),
    st.sampled_from([1, 3, 10, 20]),
)
def test_ranking_metrics_equal_trec_eval(
    users: list[tuple[list[int], set[int]]], k: int
) -> None:
    lists = np.array([order[:20] for order, _ in users])
    relevance = sp.lil_matrix((len(users), N_ITEMS + 1), dtype=np.float32)
    qrels, run = {}, {}
    for user, (order, liked) in enumerate(users):
        relevance[user, list(liked)] = 1
        qrels[str(user)] = {str(code): 1 for code in liked}
        run[str(user)] = {str(code): -float(n) for n, code in enumerate(order[:20])}
    measures = {f"{name}.{k}" for name in METRICS}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    for name, metric in METRICS.items():
        expected = [
            theirs[str(user)][f"{name}_{k}"] if liked else math.nan
            for user, (_, liked) in enumerate(users)
        ]
        found = metric(lists, sp.csr_matrix(relevance), k)
        assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_padding_is_never_a_hit() -> None:
    relevance = sp.csr_matrix(np.array([[1.0, 0, 1]]))
    assert hits(np.array([[0, 2, 0]]), relevance).tolist() == [[False, True, False]]


def test_the_bootstrap_draws_users() -> None:
    values = np.append(np.random.default_rng(0).random(20), np.nan)
    rng = np.random.default_rng(0)
    drawn = [values[rng.integers(0, 20, 20)].mean() for _ in range(1000)]
    expected = [np.nanmean(values), *np.quantile(drawn, [0.025, 0.975]), 20]
    assert report.mean(values) == pytest.approx(
        dict(zip(("mean", "low", "high", "users"), expected, strict=True))
    )


def test_an_estimate_of_nobody_is_not_a_number() -> None:
    nobody = report.mean(np.array([np.nan]))
    assert nobody.pop("users") == 0
    assert all(map(math.isnan, nobody.values()))
    assert tuple(report.mean(np.array([np.nan, 0.5])).values()) == (
        0.5,
        0.5,
        0.5,
        1,
    )
