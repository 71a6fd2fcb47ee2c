from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from extras.canary import state
from extras.canary.decision import (
    CanarySettings,
    Counts,
    Group,
    Likes,
    as_counts,
    bound_of,
    bucket_of,
    decide,
)
from extras.canary.likes import relative
from tests.unit.extras.canary.test_state import started

LIMITS = CanarySettings()
FAST = {bucket_of(10): 990, bucket_of(30): 10}


def group(**more: Any) -> Group:
    return Group(**{"requests": 1_000, "latency": FAST, **more})


def step(
    canary: Group | None = None, active: Group | None = None, **more: Any
) -> Counts:
    return Counts(
        canary or group(), active or group(), **{"users": 500, "seconds": 600.0, **more}
    )


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
def test_a_violated_guardrail_rolls_back_with_its_name(
    counts: Counts, reason: str
) -> None:
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


def test_a_failure_of_all_requests_is_found_after_fifty() -> None:
    few = {bucket_of(10): 50}
    counts = step(Group(50, errors=50, latency=few), Group(50, latency=few))
    assert decide(counts, LIMITS, users=10_000).reason == "errors"
    counts = step(Group(49, errors=49, latency=few), Group(50, latency=few))
    assert decide(counts, LIMITS, users=10_000).action == "hold"


@pytest.mark.parametrize(
    ("more", "action"),
    [
        ({}, "advance"),
        ({"users": 99}, "hold"),
        ({"seconds": LIMITS.step_s - 1}, "hold"),
    ],
)
def test_a_step_ends_with_its_users_and_its_time(
    more: dict[str, Any], action: str
) -> None:
    assert decide(step(**more), LIMITS, users=100).action == action


@pytest.mark.parametrize(
    ("likes", "more", "action"),
    [
        (Likes(), {}, "wait"),
        (Likes(users=5_000), {}, "wait"),
        (Likes(0.0, -0.6, 0.6, 300, canary=40, active=40), {}, "wait"),
        (Likes(0.0, -0.3, 0.3, 900, canary=400, active=400), {}, "advance"),
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


@pytest.mark.parametrize("users", [151, 1_000])
def test_a_bad_release_without_feedback_is_not_activated(users: int) -> None:
    """One whose lists share a fifth of their items with the live ones, as those of recipe `source` on MovieLens-1M."""
    generator = np.random.default_rng(0)
    found = started(users=users, known=1_000_000)
    stored: Counter[str] = Counter()
    looks = 0
    while found.running is not None and not (
        found.running.activating or found.running.waiting
    ):
        canary = found.running
        looks += 1
        for arm in ("canary:", "active:"):
            stored[f"{arm}requests"] += 50
            stored.update(
                f"{arm}<{bucket_of(each)}" for each in generator.lognormal(2.5, 0.5, 50)
            )
        stored.update(
            {"compared": 50, "overlap": int(generator.binomial(10, 0.21, 50).sum())}
        )
        counts = as_counts(stored, users=50 * looks, seconds=60.0 * looks)
        after = state.after(
            found,
            canary,
            decide(counts, LIMITS, canary.users, canary.is_last),
            0.0,
            0.0,
        )
        if after != found:
            stored.clear()
            looks = 0
        found = after
    assert found.running is not None
    assert (found.running.waiting, found.running.activating) == (True, False)


def test_a_step_without_requests_holds() -> None:
    assert (
        decide(Counts(Group(), Group(), users=0, seconds=9_999), LIMITS, users=1).action
        == "hold"
    )


def test_a_step_without_anything_to_compare_with_holds() -> None:
    assert decide(step(active=Group()), LIMITS, users=100).action == "hold"


def test_counts_come_back_as_they_were_added() -> None:
    stored = {
        "canary:requests": 7,
        "canary:<3": 5,
        "canary:<4": 2,
        "active:requests": 9,
        "active:errors": 1,
    }
    found = as_counts(
        {**stored, "compared": 4, "overlap": 31, "canary:new": 1}, users=6
    )
    assert found.canary == Group(7, latency={3: 5, 4: 2})
    assert found.active == Group(9, errors=1)
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
    rolled_back = 0
    for _ in range(100):
        stored: dict[str, int] = {}
        for _ in range(30):
            for arm in ("canary:", "active:"):
                add = {"requests": 100, "errors": generator.binomial(100, 0.002)}
                add |= {
                    "degraded": generator.binomial(100, 0.03),
                    "short": generator.binomial(100, 0.01),
                }
                for bucket in map(bucket_of, generator.lognormal(2.5, 0.7, 100)):
                    add[f"<{bucket}"] = add.get(f"<{bucket}", 0) + 1
                for name, count in add.items():
                    stored[arm + name] = stored.get(arm + name, 0) + int(count)
            if (
                decide(as_counts(stored, users=0), LIMITS, users=1).action
                == "roll back"
            ):
                rolled_back += 1
                break
    assert rolled_back <= 2


def test_a_loss_of_likes_is_relative_to_the_active_release() -> None:
    generator = np.random.default_rng(1)
    treated = generator.random(20_000) < 0.5
    values = generator.poisson(np.where(treated, 0.8, 1.0)).astype(np.float64)
    likes = relative(values, treated, 20_000)
    assert likes.low < -0.2 < likes.high < -0.1
    assert (likes.users, likes.canary + likes.active) == (20_000, values.sum())
    assert relative(values[:50], treated[:50], 1_000).high == np.inf
    assert relative(0 * values, treated, 1_000) == Likes(users=20_000)
    assert relative(values[:0], treated[:0], 1_000) == Likes()
