"""Definitions agree with trec_eval."""

import math

import numpy as np
import pytest
import pytrec_eval
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from extras.replay import hits
from research.evaluation import metrics

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
