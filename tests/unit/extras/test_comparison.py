"""Definitions agree with SciPy."""

from __future__ import annotations

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
