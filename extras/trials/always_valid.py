"""Always-valid intervals and a test (confidence sequences): for trials that are watched while they run.

Looking at ordinary 95 % intervals every day, and stopping when one excludes zero, finds a difference where there is
none far more often than in 5 % of the experiments. A confidence sequence misses the truth in at most 5 % of them, at
any time at all.
"""

from __future__ import annotations

from math import inf, lgamma, log, nan, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALPHA: Final = 0.05
# Users of each arm before there is an interval, as it is an asymptotic one
FIRST: Final = 100
# Of the prior about the arms' shares: most sensitive after about this many users
CONCENTRATION: Final = 1_000.0
Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its interval, which is without end while there are too few users."""

    estimate: float = nan
    low: float = -inf
    high: float = inf


def difference(
    values: Floats, treated: NDArray[np.bool_], planned: int, alpha: float = ALPHA
) -> Interval:
    """Difference of the treated users' mean to the others', with the confidence sequence after these users.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Time-uniform central
    limit theory and asymptotic confidence sequences, with a Gaussian mixture, whose parameter is chosen so that it is
    narrowest after ``planned`` values; for the variance of a difference of two means.
    """
    groups = values[treated], values[~treated]
    fewest = min(map(len, groups))
    if not fewest:
        return Interval()
    estimate = float(groups[0].mean() - groups[1].mean())
    if fewest < FIRST:
        return Interval(estimate)
    variance = sum(float(group.var()) / len(group) for group in groups)
    half = half_width(len(values), variance, planned, alpha)
    return Interval(estimate, estimate - half, estimate + half)


def half_width(n: int, variance: float, planned: int, alpha: float = ALPHA) -> float:
    """Half of the width of the interval of an estimate of this variance, after ``n`` users or requests."""
    twice = -2 * log(alpha)
    # narrowest at ``planned``, as the paper derives
    rho2 = (twice + log(twice + 1)) / planned
    scaled = n * rho2 + 1
    return sqrt(variance * 2 * scaled / (n * rho2) * log(sqrt(scaled) / alpha))


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
