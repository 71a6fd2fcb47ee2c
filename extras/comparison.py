"""Mean of a metric over users, and the paired difference of two systems, with confidence intervals.

Values are (users,), NaN for users without the metric, as `research.evaluation.metrics` gives them. Definitions agree
with SciPy, as the tests check.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


def mean(
    values: Floats, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, float]:
    """Mean over the ``users`` who have the metric; percentile bootstrap interval, ``low`` to ``high`` (Efron 1979).

    NaN where nobody has the metric.
    """
    there = values[~np.isnan(values)]
    if len(there) == 0:
        return {
            "mean": float("nan"),
            "low": float("nan"),
            "high": float("nan"),
            "users": 0,
        }
    means = _drawn(len(there), resamples, seed) @ there / len(there)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {
        "mean": float(there.mean()),
        "low": float(low),
        "high": float(high),
        "users": len(there),
    }


def compare(
    first: Floats, second: Floats, *, confidence: float = 0.95
) -> dict[str, float]:
    """Mean ``difference`` of a per-user metric, first less second, on the ``users`` who have both, by Student's paired
    t-test: its interval, ``low`` to ``high``, leaves out 0 just where its two-sided ``p_value`` is below 0.05.

    NaN where nobody has both.
    """
    difference = first - second
    there = difference[~np.isnan(difference)]
    mean = float(there.mean()) if len(there) else float("nan")
    if (
        len(there) < 2 or np.ptp(there) == 0
    ):  # no variance: the difference is what it is
        low, high = mean, mean
        p_value = 1.0 if len(there) == 0 or mean == 0 else 0.0
    else:
        test = stats.ttest_1samp(there, 0.0)
        interval = test.confidence_interval(confidence)
        low, high = float(interval.low), float(interval.high)
        p_value = float(test.pvalue)
    return {
        "difference": mean,
        "low": low,
        "high": high,
        "p_value": p_value,
        "users": len(there),
    }


@lru_cache(maxsize=8)  # few numbers of users occur in one report
def _drawn(n: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """(resamples, n) how often each of n users is drawn."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples)]
    ).astype(np.float32)


def plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """Round to four significant digits; NaN and infinities, which JSON lacks, become null."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return plain(value)
        if isinstance(value, (list, tuple)):
            return [of(part) for part in value]
        if isinstance(value, float):
            return float(f"{value:.4g}") if math.isfinite(value) else None
        return value

    return {key: of(value) for key, value in found.items()}
