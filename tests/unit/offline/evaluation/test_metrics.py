"""Definitions agree with well-kept libraries: trec_eval for lists, SciPy for comparisons."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from offline.evaluation import metrics

N_ITEMS = 30


@st.composite
def lists_and_relevance(draw: st.DrawFn) -> tuple[metrics.Lists, sp.csr_matrix]:
    users = draw(st.integers(1, 6))
    lists = np.stack([draw(st.permutations(range(1, N_ITEMS + 1))) for _ in range(users)])[:, :20]
    liked = [draw(st.sets(st.integers(1, N_ITEMS), max_size=12)) for _ in range(users)]
    matrix = np.zeros((users, N_ITEMS + 1), dtype=np.float32)
    for user, items in enumerate(liked):
        matrix[user, list(items)] = 1
    return lists, sp.csr_matrix(matrix)


@settings(max_examples=50, deadline=None)
@given(lists_and_relevance(), st.sampled_from([1, 3, 10, 20]))
def test_ranking_metrics_equal_trec_eval(drawn: tuple[metrics.Lists, sp.csr_matrix], k: int) -> None:
    lists, relevance = drawn
    names = {f"recall_{k}": metrics.recall, f"ndcg_cut_{k}": metrics.ndcg, f"success_{k}": metrics.hit_rate}
    ours = {name: metric(lists, relevance, k) for name, metric in names.items()}
    liked = {str(user): {str(code): 1 for code in row.indices} for user, row in enumerate(relevance)}
    run = {
        str(user): {str(code): float(len(codes) - rank) for rank, code in enumerate(codes)}
        for user, codes in enumerate(lists)
    }
    evaluator = pytrec_eval.RelevanceEvaluator(liked, {name.rpartition("_")[0] + f".{k}" for name in names})
    theirs = evaluator.evaluate(run)
    for user in range(len(lists)):
        found = {name: values[user] for name, values in ours.items()}
        if liked[str(user)]:
            assert found == pytest.approx(theirs[str(user)], abs=1e-6)
        else:
            assert all(map(math.isnan, found.values()))


def test_padding_is_never_a_hit() -> None:
    relevance = sp.csr_matrix(np.array([[1.0, 0, 1]]))
    assert metrics.hits(np.array([[0, 2, 0]]), relevance).tolist() == [[False, True, False]]


def test_compare_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(200) + 0.05, rng.random(200)
    first[:5] = np.nan
    found = metrics.compare(first, second)
    assert found["p_value"] == pytest.approx(stats.ttest_rel(first[5:], second[5:]).pvalue)
    assert found["low"] < found["difference"] < found["high"]
    assert found["users"] == 195


def test_bootstrap_interval_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    found = metrics.mean(values)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 / math.sqrt(2000), rel=0.1)


def test_the_bootstrap_draws_users() -> None:
    values = np.append(np.random.default_rng(0).random(20), np.nan)
    rng = np.random.default_rng(0)
    drawn = [values[rng.integers(0, 20, 20)].mean() for _ in range(1000)]
    expected = [np.nanmean(values), *np.quantile(drawn, [0.025, 0.975]), 20]
    assert metrics.mean(values) == pytest.approx(dict(zip(("mean", "low", "high", "users"), expected, strict=True)))
    rng = np.random.default_rng(7)
    drawn = [values[rng.integers(0, 20, 20)].mean() for _ in range(30)]
    chosen = {"resamples": 30, "confidence": 0.5, "seed": 7}
    compared = metrics.compare(values, np.zeros(21), **chosen)
    assert [compared["low"], compared["high"]] == pytest.approx(np.quantile(drawn, [0.25, 0.75]).tolist())
    compared = metrics.compare(values, np.zeros(21))
    assert [compared[name] for name in ("difference", "low", "high", "users")] == pytest.approx(expected)


def test_an_estimate_of_nobody_is_not_a_number() -> None:
    nobody = metrics.mean(np.array([np.nan]))
    assert nobody.pop("users") == 0
    assert all(map(math.isnan, nobody.values()))
    assert tuple(metrics.mean(np.array([np.nan, 0.5])).values()) == (0.5, 0.5, 0.5, 1)


@pytest.mark.parametrize(
    ("difference", "p_value"),
    [([], 1.0), ([np.nan], 1.0), ([0.0, 0.0], 1.0), ([0.5, 0.5, 0.5], 0.0), ([0.0], 1.0), ([0.5], 0.0)],
)
def test_p_values_without_variance_are_one_or_zero(difference: list[float], p_value: float) -> None:
    assert metrics.compare(np.array(difference), np.zeros(len(difference)))["p_value"] == p_value


@pytest.mark.parametrize("pair", [(0.25, 0.5), (0.0, 1.0)])
def test_two_who_differ_are_enough_for_a_t_test(pair: tuple[float, float]) -> None:
    expected = stats.ttest_1samp(np.array(pair), 0.0).pvalue
    assert metrics.compare(np.array(pair), np.zeros(2))["p_value"] == pytest.approx(expected)


def test_plain_numbers() -> None:
    found = metrics.plain({"a": 0.123456, "b": {"c": math.nan}, "d": 3, "e": 1e-20})
    assert found == {"a": 0.1235, "b": {"c": None}, "d": 3, "e": 1e-20}
    assert metrics.plain({"rows": [{"a": math.nan}, 0.123456, (1, 2.0)]}) == {"rows": [{"a": None}, 0.1235, [1, 2.0]]}
