from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from extras.trials.decision import (
    WORDS,
    CanarySettings,
    Counts,
    Group,
    Likes,
    bound_of,
    bucket_of,
    decide,
)

LIMITS = CanarySettings()
FAST = {bucket_of(10): 990, bucket_of(30): 10}


def group(
    requests: int = 1_000, latency: Mapping[int, int] = FAST, **failed: int
) -> Group:
    return Group(requests, dict.fromkeys(WORDS, 0) | failed, latency)


def step(
    canary: Group | None = None, active: Group | None = None, **more: Any
) -> Counts:
    given = {"users": 500, "seconds": 600.0, **more}
    return Counts(canary or group(), active or group(), **given)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (step(group(errors=40)), "errors"),
        (step(group(degraded=80)), "degraded"),
        (step(group(short=50)), "short"),
        (step(group(wrong=30)), "wrong"),
        (step(group(scores=30)), "scores"),
        (step(group(scores=180, degraded=180)), "scores"),
        (step(group(latency={bucket_of(90): 1_000})), "latency"),
        (step(group(latency={bucket_of(10): 900, bucket_of(200): 100})), "latency"),
        (step(compared=200, overlap=8.0), "distance"),
        (step(likes=Likes(-0.1, -0.16, -0.04, 9_000)), "likes"),
    ],
)
def test_a_violated_guardrail_rolls_back(counts: Counts, reason: str) -> None:
    decision = decide(counts, LIMITS, users=10_000)
    assert (decision.action, decision.reason) == ("roll back", reason)
    assert decision.detail


@pytest.mark.parametrize(
    "counts",
    [
        step(group(errors=40), group(errors=40)),
        step(group(degraded=300), group(degraded=300)),
        step(group(errors=1)),
        step(group(latency={bucket_of(11): 985, bucket_of(35): 15})),
        step(compared=200, overlap=120.0),
        step(compared=10, overlap=0.0),
        step(likes=Likes(-0.05, -0.11, 0.01, 2_000)),
        step(likes=Likes(-0.05, -0.08, -0.02, 2_000)),
    ],
)
def test_equal_or_uncertain_differences_hold(counts: Counts) -> None:
    assert decide(counts, LIMITS, users=10_000).action == "hold"


@pytest.mark.parametrize(("requests", "reason"), [(50, "errors"), (49, "")])
def test_a_failure_of_all_is_found_after_fifty(requests: int, reason: str) -> None:
    few = {bucket_of(10): 50}
    failing = group(requests, few, errors=requests)
    decision = decide(step(failing, group(50, few)), LIMITS, users=10_000)
    assert decision.reason == reason


@pytest.mark.parametrize(
    ("counts", "action"),
    [
        (step(), "advance"),
        (step(users=99), "hold"),
        (step(seconds=LIMITS.step_s - 1), "hold"),
        (step(active=group(0, {})), "hold"),
        (step(group(0, {}), group(0, {}), users=100, seconds=9_999), "hold"),
    ],
)
def test_a_step_ends_with_its_users_and_time(counts: Counts, action: str) -> None:
    assert decide(counts, LIMITS, users=100).action == action


@pytest.mark.parametrize(
    ("likes", "more", "action"),
    [
        (Likes(), {}, "wait"),
        (Likes(users=5_000), {}, "wait"),
        (Likes(0.0, -0.6, 0.6, 300), {}, "wait"),
        (Likes(0.0, -0.3, 0.3, 900), {}, "advance"),
        (Likes(), {"evidence": 1}, "advance"),
        (Likes(0.0, -0.3, 0.3, 900), {"evidence": 0.2}, "wait"),
    ],
)
def test_the_last_step_needs_feedback(
    likes: Likes, more: dict[str, Any], action: str
) -> None:
    counts, limits = step(likes=likes), CanarySettings(**more)
    assert decide(counts, limits, users=100, last=True).action == action
    assert decide(counts, limits, users=100).action == "advance"


def test_counts_come_back_as_they_were_added() -> None:
    stored = {
        "canary:requests": 7,
        "canary:<3": 5,
        "canary:<4": 2,
        "canary:new": 1,
        "active:requests": 9,
        "active:errors": 1,
        "compared": 4,
        "overlap": 31,
    }
    found = Counts.of(stored, users=6)
    assert found.canary == group(7, {3: 5, 4: 2})
    assert found.active == group(9, {}, errors=1)
    assert (found.compared, found.overlap, found.users) == (4, 3.1, 6)


def test_a_bucket_holds_latencies_up_to_its_bound() -> None:
    for milliseconds in (0.1, 0.5, 3.0, 79.9, 5_000.0):
        assert bound_of(bucket_of(milliseconds)) >= milliseconds * 0.999
        assert bound_of(bucket_of(milliseconds) - 1) < max(milliseconds, 0.5)
    assert group().quantile(0.5) == bound_of(bucket_of(10))
    assert group().quantile(0.995) == bound_of(bucket_of(30))
    assert group().slower_than(20) == 10


def test_equal_releases_are_seldom_rolled_back() -> None:
    """Looked at after every hundred requests, with rare failures and a long tail of latencies."""
    generator = np.random.default_rng(0)
    rates = {"errors": 0.002, "degraded": 0.03, "short": 0.01}
    rolled_back = 0
    for _ in range(100):
        stored: Counter[str] = Counter()
        actions = set()
        for _ in range(30):
            for arm in ("canary", "active"):
                stored[f"{arm}:requests"] += 100
                for name, rate in rates.items():
                    stored[f"{arm}:{name}"] += int(generator.binomial(100, rate))
                for each in generator.lognormal(2.5, 0.7, 100):
                    stored[f"{arm}:<{bucket_of(each)}"] += 1
            actions.add(decide(Counts.of(stored), LIMITS, users=1).action)
        rolled_back += "roll back" in actions
    assert rolled_back <= 2


def test_a_loss_of_likes_is_relative_to_the_active_release() -> None:
    generator = np.random.default_rng(1)
    treated = generator.random(20_000) < 0.5
    values = generator.poisson(np.where(treated, 0.8, 1.0)).astype(np.float64)
    likes = Likes.of(values, treated, 20_000)
    assert likes.low < -0.2 < likes.high < -0.1
    assert (likes.users, likes.canary + likes.active) == (20_000, values.sum())
    assert Likes.of(values[:50], treated[:50], 1_000).high == np.inf
    assert Likes.of(0 * values, treated, 1_000) == Likes(users=20_000)
    assert Likes.of(values[:0], treated[:0], 1_000) == Likes()
