"""Definitions agree with SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from extras import comparison


def test_compare_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(200) + 0.05, rng.random(200)
    first[:5] = np.nan
    found = comparison.compare(first, second)
    assert found["p_value"] == pytest.approx(
        stats.ttest_rel(first[5:], second[5:]).pvalue
    )
    assert found["low"] < found["difference"] < found["high"]
    assert found["users"] == 195


def test_the_bootstrap_draws_users() -> None:
    values = np.append(np.random.default_rng(0).random(20), np.nan)
    rng = np.random.default_rng(0)
    drawn = [values[rng.integers(0, 20, 20)].mean() for _ in range(1000)]
    expected = [np.nanmean(values), *np.quantile(drawn, [0.025, 0.975]), 20]
    assert comparison.mean(values) == pytest.approx(
        dict(zip(("mean", "low", "high", "users"), expected, strict=True))
    )


def test_an_estimate_of_nobody_is_not_a_number() -> None:
    nobody = comparison.mean(np.array([np.nan]))
    assert nobody.pop("users") == 0
    assert all(map(math.isnan, nobody.values()))
    assert tuple(comparison.mean(np.array([np.nan, 0.5])).values()) == (
        0.5,
        0.5,
        0.5,
        1,
    )


@pytest.mark.parametrize(
    ("difference", "p_value"),
    [
        ([], 1.0),
        ([np.nan], 1.0),
        ([0.0, 0.0], 1.0),
        ([0.5, 0.5, 0.5], 0.0),
        ([0.0], 1.0),
        ([0.5], 0.0),
    ],
)
def test_p_values_without_variance_are_one_or_zero(
    difference: list[float], p_value: float
) -> None:
    assert (
        comparison.compare(np.array(difference), np.zeros(len(difference)))["p_value"]
        == p_value
    )
