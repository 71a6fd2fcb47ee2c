"""Definitions agree with trec_eval."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.evaluation import metrics

N_ITEMS = 30


@st.composite
def lists_and_relevance(draw: st.DrawFn) -> tuple[metrics.Lists, sp.csr_matrix]:
    users = draw(st.integers(1, 6))
    lists = np.stack(
        [draw(st.permutations(range(1, N_ITEMS + 1))) for _ in range(users)]
    )[:, :20]
    liked = [draw(st.sets(st.integers(1, N_ITEMS), max_size=12)) for _ in range(users)]
    matrix = np.zeros((users, N_ITEMS + 1), dtype=np.float32)
    for user, items in enumerate(liked):
        matrix[user, list(items)] = 1
    return lists, sp.csr_matrix(matrix)


@settings(max_examples=50, deadline=None)
@given(lists_and_relevance(), st.sampled_from([1, 3, 10, 20]))
def test_ranking_metrics_equal_trec_eval(
    drawn: tuple[metrics.Lists, sp.csr_matrix], k: int
) -> None:
    lists, relevance = drawn
    names = {
        f"recall_{k}": metrics.recall,
        f"ndcg_cut_{k}": metrics.ndcg,
        f"success_{k}": metrics.hit_rate,
    }
    ours = {name: metric(lists, relevance, k) for name, metric in names.items()}
    liked = {
        str(user): {str(code): 1 for code in row.indices}
        for user, row in enumerate(relevance)
    }
    run = {
        str(user): {
            str(code): float(len(codes) - rank) for rank, code in enumerate(codes)
        }
        for user, codes in enumerate(lists)
    }
    evaluator = pytrec_eval.RelevanceEvaluator(
        liked, {name.rpartition("_")[0] + f".{k}" for name in names}
    )
    theirs = evaluator.evaluate(run)
    for user in range(len(lists)):
        found = {name: values[user] for name, values in ours.items()}
        if liked[str(user)]:
            assert found == pytest.approx(theirs[str(user)], abs=1e-6)
        else:
            assert all(map(math.isnan, found.values()))


def test_padding_is_never_a_hit() -> None:
    relevance = sp.csr_matrix(np.array([[1.0, 0, 1]]))
    assert metrics.hits(np.array([[0, 2, 0]]), relevance).tolist() == [
        [False, True, False]
    ]


def test_plain_numbers() -> None:
    found = metrics.plain({"a": 0.123456, "b": {"c": math.nan}, "d": 3, "e": 1e-20})
    assert found == {"a": 0.1235, "b": {"c": None}, "d": 3, "e": 1e-20}
    assert metrics.plain({"rows": [{"a": math.nan}, 0.123456, (1, 2.0)]}) == {
        "rows": [{"a": None}, 0.1235, [1, 2.0]]
    }
