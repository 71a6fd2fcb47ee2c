"""Intervals that hold at any time: simulated under somebody who looks after every single user."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from extras.experiments.always_valid import (
    ALPHA,
    FIRST,
    Path,
    difference_path,
    mean_path,
    sample_ratio_p_value,
)

RUNS, USERS, PLANNED = 400, 3_000, 1_000
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
KINDS: dict[str, tuple[Draw, float]] = {  # what users' values are like, and their mean
    "hits, 0 or 1": (lambda rng, n: (rng.random(n) < 0.1).astype(float), 0.1),
    "counts, many of them 0": (
        lambda rng, n: rng.poisson(rng.gamma(0.5, 2.0, n)).astype(float),
        1.0,
    ),
    "preferences, -1 to 1": (
        lambda rng, n: rng.choice([-1.0, 0.0, 1 / 3, 1.0], n, p=[0.3, 0.4, 0.1, 0.2]),
        -0.2 / 3,
    ),
}
# Of RUNS runs, more misses than this come by chance once in a thousand times where alpha holds.
MOST = int(stats.binom.ppf(0.999, RUNS, ALPHA))


def excludes(path: Path, value: float) -> bool:
    """Whether the interval leaves the value out at any time."""
    return bool(((path["low"] > value) | (path["high"] < value)).any())


@pytest.mark.parametrize("kind", KINDS)
def test_a_mean_is_missed_at_any_time_by_no_more_than_alpha(kind: str) -> None:
    draw, truth = KINDS[kind]
    rng = np.random.default_rng(0)
    missed = sum(
        excludes(mean_path(draw(rng, USERS), PLANNED), truth) for _ in range(RUNS)
    )
    assert missed <= MOST


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_miss_a_difference_at_most_alpha(kind: str, share: float) -> None:
    draw, _ = KINDS[kind]
    rng = np.random.default_rng(1)
    lifted = 0.25  # by so much the treated users' values are higher
    missed = 0
    for _ in range(RUNS):
        treated = rng.random(USERS) < share
        missed += excludes(
            difference_path(draw(rng, USERS) + lifted * treated, treated, PLANNED),
            lifted,
        )
    assert missed <= MOST


def test_a_difference_that_is_there_is_found() -> None:
    rng = np.random.default_rng(3)
    treated = rng.random(USERS) < 0.5
    path = difference_path(rng.standard_normal(USERS) + 0.3 * treated, treated, PLANNED)
    assert 0 < path["low"][-1] < 0.3 < path["high"][-1]
    assert excludes(path, 0.0)


def test_an_interval_is_narrowest_where_it_was_planned() -> None:
    values = np.tile([-1.0, 1.0], 5_000)
    paths = {planned: mean_path(values, planned) for planned in (500, 5_000)}
    width = {planned: path["high"] - path["low"] for planned, path in paths.items()}
    assert width[500][499] < width[5_000][499]
    assert width[500][4_999] > width[5_000][4_999]
    assert (
        1.2 < width[500][499] / 2 / (1.96 / np.sqrt(500)) < 1.7
    )  # wider than one that is looked at once


def test_without_enough_users_in_each_arm_nothing_is_said() -> None:
    values = np.random.default_rng(5).standard_normal(600)
    path = difference_path(values, np.arange(600) >= 400, PLANNED)
    assert np.isinf(path["high"][: 400 + FIRST - 1]).all()
    assert np.isfinite(path["high"][400 + FIRST :]).all()
    assert not len(mean_path(np.array([]), PLANNED)["users"])


def test_even_arms_are_flagged_at_most_alpha() -> None:
    rng, suspected = np.random.default_rng(6), 0
    shares = np.array([0.5, 0.3, 0.2])
    for _ in range(RUNS):
        counts = np.zeros(3, np.int64)
        for _ in range(40):  # looks
            counts += rng.multinomial(100, shares)
            if sample_ratio_p_value(counts, shares) < ALPHA:
                suspected += 1
                break
    assert suspected <= MOST
