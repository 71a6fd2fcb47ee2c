from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from extras.trials.always_valid import Interval
from extras.trials.decision import (
    NOTHING,
    CanarySettings,
    Counts,
    bound_of,
    bucket_of,
    decide,
    quantile,
    relative_likes,
    slower_than,
)

LIMITS = CanarySettings()
FAST = {bucket_of(10): 990, bucket_of(30): 10}


def group(
    requests: int = 1_000, latency: Mapping[int, int] = FAST, **failed: int
) -> dict[str, int]:
    slow = {f"<{bucket}": count for bucket, count in latency.items()}
    return {"requests": requests, **slow, **failed}


def step(
    canary: Mapping[str, int] | None = None,
    active: Mapping[str, int] | None = None,
    seconds: float = 600.0,
    likes: Interval = NOTHING,
    **lists: int,
) -> Counts:
    groups = {"canary": canary or group(), "active": active or group()}
    of = {
        f"{arm}:{name}": n for arm, each in groups.items() for name, n in each.items()
    }
    return Counts({**of, **lists}, seconds, likes)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (step(group(errors=40)), "errors"),
        (step(group(wrong=30)), "wrong"),
        (step(group(scores=30)), "scores"),
        (step(group(scores=180, degraded=180)), "scores"),
        (step(group(latency={bucket_of(90): 1_000})), "latency"),
        (step(group(latency={bucket_of(10): 900, bucket_of(200): 100})), "latency"),
        (step(compared=200, overlap=80), "distance"),
        (step(likes=Interval(-0.1, -0.16, -0.04)), "likes"),
    ],
)
def test_a_violated_guardrail_rolls_back(counts: Counts, reason: str) -> None:
    decision = decide(counts, LIMITS, requests=10_000)
    assert (decision.action, decision.reason) == ("roll back", reason)
    assert decision.detail


@pytest.mark.parametrize(
    "counts",
    [
        step(group(errors=40), group(errors=40)),
        step(group(errors=1)),
        step(group(latency={bucket_of(11): 985, bucket_of(35): 15})),
        step(compared=200, overlap=1_200),
        step(compared=10, overlap=0),
        step(likes=Interval(-0.05, -0.11, 0.01)),
    ],
)
def test_equal_or_uncertain_differences_hold(counts: Counts) -> None:
    assert decide(counts, LIMITS, requests=10_000).action == "hold"


@pytest.mark.parametrize(("requests", "reason"), [(50, "errors"), (49, "")])
def test_a_failure_of_all_is_found_after_fifty(requests: int, reason: str) -> None:
    few = {bucket_of(10): 50}
    failing = group(requests, few, errors=requests)
    decision = decide(step(failing, group(50, few)), LIMITS, requests=10_000)
    assert decision.reason == reason


@pytest.mark.parametrize(
    ("counts", "action"),
    [
        (step(), "advance"),
        (step(group(99)), "hold"),
        (step(seconds=LIMITS.step_s - 1), "hold"),
        (step(active=group(49)), "hold"),
        (step(group(0, {}), group(0, {}), seconds=9_999), "hold"),
    ],
)
def test_a_step_ends_with_its_requests_and_time(counts: Counts, action: str) -> None:
    assert decide(counts, LIMITS, requests=100).action == action


@pytest.mark.parametrize(
    ("likes", "more", "action"),
    [
        (NOTHING, {}, "hold"),
        (Interval(0.0, -0.6, 0.6), {}, "hold"),
        (Interval(0.0, -0.3, 0.3), {}, "advance"),
        (NOTHING, {"evidence": 1}, "advance"),
        (Interval(0.0, -0.3, 0.3), {"evidence": 0.2}, "hold"),
    ],
)
def test_the_last_step_needs_feedback(
    likes: Interval, more: dict[str, Any], action: str
) -> None:
    counts, limits = step(likes=likes), CanarySettings(**more)
    assert decide(counts, limits, requests=100, last=True).action == action
    assert decide(counts, limits, requests=100).action == "advance"


def test_a_bucket_holds_latencies_up_to_its_bound() -> None:
    for milliseconds in (0.1, 0.5, 3.0, 79.9, 5_000.0):
        assert bound_of(bucket_of(milliseconds)) >= milliseconds * 0.999
        assert bound_of(bucket_of(milliseconds) - 1) < max(milliseconds, 0.5)
    latency = step().latency("canary")
    assert quantile(latency, 0.5) == bound_of(bucket_of(10))
    assert quantile(latency, 0.995) == bound_of(bucket_of(30))
    assert slower_than(latency, 20) == 10


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
            actions.add(decide(Counts(stored), LIMITS, requests=1).action)
        rolled_back += "roll back" in actions
    assert rolled_back <= 2


def test_a_loss_of_likes_is_relative_to_the_active_release() -> None:
    generator = np.random.default_rng(1)
    treated = generator.random(20_000) < 0.5
    values = generator.poisson(np.where(treated, 0.8, 1.0)).astype(np.float64)
    likes = relative_likes(values, treated, 20_000)
    assert likes.low < -0.2 < likes.high < -0.1
    for few in (
        relative_likes(values[:50], treated[:50], 1_000),
        relative_likes(0 * values, treated, 1_000),
        relative_likes(values[:0], treated[:0], 1_000),
    ):
        assert few == NOTHING
