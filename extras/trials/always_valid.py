"""Always-valid intervals and a test (confidence sequences): for trials that are watched while they run.

Looking at ordinary 95 % intervals every day, and stopping when one excludes zero, finds a difference where there is
none far more often than in 5 % of the experiments. A confidence sequence misses the truth in at most 5 % of them, at
any time at all.
"""

from __future__ import annotations

from math import lgamma
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ALPHA: Final = 0.05
# Users of each arm before there is an interval, as it is an asymptotic one
FIRST: Final = 100
# Of the prior about the arms' shares: most sensitive after about this many users
CONCENTRATION: Final = 1_000.0
Floats = NDArray[np.float64]
# (n,) each, after each user: "users", how many there were, "estimate", and "low" and "high" of the interval, which is
# without end while there are too few users
Path = dict[str, NDArray[Any]]


def difference_path(
    values: Floats, treated: NDArray[np.bool_], planned: int, alpha: float = ALPHA
) -> Path:
    """Confidence sequence of the difference of the treated users' mean to the others', in their order of arrival.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Time-uniform central
    limit theory and asymptotic confidence sequences, with a Gaussian mixture, whose parameter is chosen so that it is
    narrowest after ``planned`` values; for the variance of a difference of two means.
    """
    n = np.arange(1, len(values) + 1)
    ones = np.cumsum(treated)
    zeros = n - ones
    mean_1, variance_1 = _running(values, treated)
    mean_0, variance_0 = _running(values, ~treated)
    variances = variance_1 / np.maximum(ones, 1) + variance_0 / np.maximum(zeros, 1)
    half = np.sqrt(n * np.maximum(variances, 0)) * _widths(n, planned, alpha)
    half = np.where(np.minimum(ones, zeros) < FIRST, np.inf, half)
    estimate = mean_1 - mean_0
    return {
        "users": n,
        "estimate": estimate,
        "low": estimate - half,
        "high": estimate + half,
    }


def half_width(n: int, variance: float, planned: int, alpha: float = ALPHA) -> float:
    """Half of the width of the interval of an estimate of this variance, after ``n`` users or requests."""
    return float(np.sqrt(n * variance) * _widths(np.array([n]), planned, alpha)[0])


def _widths(n: NDArray[np.int64], planned: int, alpha: float) -> Floats:
    """(n,) half of the interval's width, for a variance of 1."""
    log = -2 * np.log(alpha)
    # narrowest at ``planned``, as the paper derives
    rho2 = (log + np.log(log + 1)) / planned
    scaled = n * rho2 + 1
    widths: Floats = np.sqrt(
        2 * scaled / (n**2 * rho2) * np.log(np.sqrt(scaled) / alpha)
    )
    return widths


def _running(values: Floats, there: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """(n,) mean and variance of those values that are ``there``, up to each place; 0 where there is none."""
    counts = np.maximum(np.cumsum(there), 1)
    # so that squares lose no digits
    shift = values[there].mean() if there.any() else 0.0
    centred = np.where(there, values - shift, 0.0)
    means = np.cumsum(centred) / counts
    variances = np.cumsum(centred**2) / counts - means**2
    return means + shift, variances


def sample_ratio_p_value(counts: NDArray[np.integer], shares: Floats) -> float:
    """P-value of (arms,) counts of users against their shares: small where something loses users of an arm.

    The sequential multinomial test of Lindon & Malek (2022), Anytime-valid inference for multinomial count data: the
    inverse of the Bayes factor against a Dirichlet prior around the shares.
    """
    shares = shares / shares.sum()
    prior = CONCENTRATION * shares
    log_factor = lgamma(prior.sum()) - lgamma(prior.sum() + counts.sum())
    for a, n in zip(prior.tolist(), counts.tolist(), strict=True):
        log_factor += lgamma(a + n) - lgamma(a)
    return float(min(np.exp((counts * np.log(shares)).sum() - log_factor), 1.0))
