"""The paired difference of two systems in a per-user metric, with its confidence interval.

Values are (users,), NaN for users without the metric, as `research.evaluation.metrics` gives them.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


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
