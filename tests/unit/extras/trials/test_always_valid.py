"""Intervals that hold at any time: simulated under somebody who looks after every fifty users."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from extras.trials.always_valid import (
    ALPHA,
    Interval,
    difference,
    half_width,
    sample_ratio_p_value,
)

RUNS, USERS, PLANNED = 400, 3_000, 1_000
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
KINDS: dict[str, Draw] = {  # what users' values are like
    "hits, 0 or 1": lambda rng, n: (rng.random(n) < 0.1).astype(float),
    "counts, many of them 0": lambda rng, n: rng.poisson(rng.gamma(0.5, 2.0, n)).astype(
        float
    ),
}
# Of RUNS runs, more misses than this come by chance once in a thousand times where alpha holds.
MOST = int(stats.binom.ppf(0.999, RUNS, ALPHA))


def looks(values: Floats, treated: NDArray[np.bool_]) -> Iterator[Interval]:
    for n in range(50, USERS + 1, 50):
        yield difference(values[:n], treated[:n], PLANNED)


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_miss_a_difference_at_most_alpha(kind: str, share: float) -> None:
    rng, lift, missed = np.random.default_rng(1), 0.25, 0
    for _ in range(RUNS):
        treated = rng.random(USERS) < share
        values = KINDS[kind](rng, USERS) + lift * treated
        missed += any(not e.low <= lift <= e.high for e in looks(values, treated))
    assert missed <= MOST


def test_an_interval_is_narrowest_where_it_was_planned() -> None:
    assert half_width(500, 1, 500) < half_width(500, 1, 5_000)
    assert half_width(5_000, 1, 500) > half_width(5_000, 1, 5_000)
    assert 1.2 < half_width(500, 1, 500) / 1.96 < 1.7  # of one that is looked at once


def test_even_arms_are_flagged_at_most_alpha() -> None:
    rng, suspected = np.random.default_rng(6), 0
    shares = np.array([0.5, 0.3, 0.2])
    for _ in range(RUNS):
        counts = np.cumsum(rng.multinomial(100, shares, 40), axis=0)  # looks
        suspected += any(sample_ratio_p_value(each, shares) < ALPHA for each in counts)
    assert suspected <= MOST
