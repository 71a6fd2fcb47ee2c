from __future__ import annotations

import numpy as np
import pytest

from research.measure.canary import NAMES, Collected, simulate

N = 300


@pytest.fixture(scope="module")
def active() -> Collected:
    generator = np.random.default_rng(0)
    problems = {name: np.zeros(N, np.bool_) for name in NAMES}
    return Collected(
        problems,
        generator.lognormal(3, 0.6, N),
        np.full(N, 10),
        generator.poisson(3, N),
    )


def test_a_release_like_the_active_one_is_activated(active: Collected) -> None:
    ended = simulate(active, active, np.random.default_rng(1))
    assert (ended["reason"], ended["step"], ended["likes lost"]) == ("", 3, 0)


@pytest.mark.parametrize("reason", ["errors", "degraded", "short", "wrong", "scores"])
def test_a_problem_of_some_answers_is_named(active: Collected, reason: str) -> None:
    ended = simulate(
        active, active.where(0.06, reason, lost=True), np.random.default_rng(1)
    )
    assert (ended["reason"], ended["step"]) == (reason, 1)
    assert ended["likes lost"] > 0


def test_slow_answers_and_lost_likes_are_named(active: Collected) -> None:
    assert (
        simulate(active, active.slower(1.0, 80.0), np.random.default_rng(1))["reason"]
        == "latency"
    )
    assert (
        simulate(active, active, np.random.default_rng(1), likes=0.8)["reason"]
        == "likes"
    )
