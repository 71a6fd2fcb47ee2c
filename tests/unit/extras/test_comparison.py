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


@pytest.mark.parametrize("seed", range(3))
def test_interval_and_p_value_agree_on_significance(seed: int) -> None:
    """Around the border, with many ties and a long tail, as differences of recall have."""
    differences = np.random.default_rng(seed).choice(
        [-0.1, 0.0, 0.0, 0.0, 0.5], size=60
    )
    for shift in np.linspace(-0.1, 0.3, 41):
        found = comparison.compare(differences, np.full(60, shift))
        assert (found["low"] <= 0 <= found["high"]) == (found["p_value"] >= 0.05)


def test_bootstrap_interval_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    found = comparison.mean(values)
    assert found["high"] - found["low"] == pytest.approx(
        2 * 1.96 / math.sqrt(2000), rel=0.1
    )


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


@pytest.mark.parametrize("pair", [(0.25, 0.5), (0.0, 1.0)])
def test_two_who_differ_are_enough_for_a_t_test(pair: tuple[float, float]) -> None:
    expected = stats.ttest_1samp(np.array(pair), 0.0).pvalue
    assert comparison.compare(np.array(pair), np.zeros(2))["p_value"] == pytest.approx(
        expected
    )
