"""Intervals that hold at any time: simulated under somebody who looks after every single user."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from extras.trials.always_valid import (
    ALPHA,
    FIRST,
    Path,
    difference_path,
    sample_ratio_p_value,
)

RUNS, USERS, PLANNED = 400, 3_000, 1_000
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
KINDS: dict[str, Draw] = {  # what users' values are like
    "hits, 0 or 1": lambda rng, n: (rng.random(n) < 0.1).astype(float),
    "counts, many of them 0": lambda rng, n: rng.poisson(rng.gamma(0.5, 2.0, n)).astype(
        float
    ),
}
# Of RUNS runs, more misses than this come by chance once in a thousand times where alpha holds.
MOST = int(stats.binom.ppf(0.999, RUNS, ALPHA))


def excludes(path: Path, value: float) -> bool:
    """Whether the interval leaves the value out at any time."""
    return bool(((path["low"] > value) | (path["high"] < value)).any())


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_miss_a_difference_at_most_alpha(kind: str, share: float) -> None:
    rng, lift, missed = np.random.default_rng(1), 0.25, 0
    for _ in range(RUNS):
        treated = rng.random(USERS) < share
        values = KINDS[kind](rng, USERS) + lift * treated
        missed += excludes(difference_path(values, treated, PLANNED), lift)
    assert missed <= MOST


def test_a_difference_that_is_there_is_found() -> None:
    rng = np.random.default_rng(3)
    treated = rng.random(USERS) < 0.5
    path = difference_path(rng.standard_normal(USERS) + 0.3 * treated, treated, PLANNED)
    assert 0 < path["low"][-1] < 0.3 < path["high"][-1]
    assert excludes(path, 0.0)


def test_an_interval_is_narrowest_where_it_was_planned() -> None:
    values = np.tile([-1.0, -1.0, 1.0, 1.0], 2_500)
    treated = np.tile([True, False], 5_000)
    width = {}
    for planned in (500, 5_000):
        path = difference_path(values, treated, planned)
        width[planned] = path["high"] - path["low"]
    assert width[500][499] < width[5_000][499]
    assert width[500][4_999] > width[5_000][4_999]
    once = 2 * 1.96 * np.sqrt(2 / 250)  # of an interval that is looked at once
    assert 1.2 < width[500][499] / once < 1.7


def test_without_enough_users_in_each_arm_nothing_is_said() -> None:
    values = np.random.default_rng(5).standard_normal(600)
    path = difference_path(values, np.arange(600) >= 400, PLANNED)
    assert np.isinf(path["high"][: 400 + FIRST - 1]).all()
    assert np.isfinite(path["high"][400 + FIRST :]).all()
    nobody = difference_path(np.array([]), np.array([], np.bool_), PLANNED)
    assert not len(nobody["users"])


def test_even_arms_are_flagged_at_most_alpha() -> None:
    rng, suspected = np.random.default_rng(6), 0
    shares = np.array([0.5, 0.3, 0.2])
    for _ in range(RUNS):
        counts = np.cumsum(rng.multinomial(100, shares, 40), axis=0)  # looks
        suspected += any(sample_ratio_p_value(each, shares) < ALPHA for each in counts)
    assert suspected <= MOST
