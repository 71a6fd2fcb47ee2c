"""The decision about a canary: counts of its requests and of the active release's -> go on, advance or roll back.

A pure function, `decide`, which servers and the simulation call alike. Each guardrail is an always-valid test: it may
be looked at after every request, and its probability of rolling back, at any time in a step, a release that is as good
as the active one is `ALPHA` at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, inf, log
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from data_exchange_center.settings import ExtensionSettings, Seconds
from extras.experiments.always_valid import half_width

ALPHA: Final = 0.005  # of each of the guardrails in a step: less than 5 % for all of them together
PLANNED: Final = 1_000  # requests of a group after which a guardrail is most sensitive
FEWEST: Final = 50  # requests of each group, or compared lists, before a guardrail decides
STEP: Final = 1.05  # ratio of the latency histogram's bounds
FIRST_MS: Final = 0.5  # ... and its first one
MEDIAN_LIMIT: Final = 0.1  # as `CanarySettings.slow`, of requests slower than the active release's median

CANARY, ACTIVE = "canary:", "active:"  # prefixes of a group's counts
COUNTED: Final = ("requests", "errors", "degraded", "short", "wrong", "scores")

Action = Literal["hold", "advance", "roll back"]
Share = Annotated[float, Field(ge=0, le=1)]


class CanarySettings(ExtensionSettings, env_prefix="RECSYS_CANARY__"):
    """Guardrails: by how much a canary may exceed the active release, as a share of the requests or lists."""

    errors: Share = 0.005  # requests without an answer from the canary
    degraded: Share = 0.02
    short: Share = 0.01  # lists that are empty or too short
    wrong: Share = 0.002  # lists with an item that the active release knows under another id
    scores: Share = 0.002  # lists whose scores are NaN or all equal
    slow: Share = 0.01  # requests slower than `slower` times the active release's p99 and `slower_ms`
    slower: Annotated[float, Field(ge=1)] = 1.25
    slower_ms: Annotated[float, Field(ge=0)] = 20.0
    overlap: Share = 0.15  # least mean overlap of the first ten items with the active release's; 0: any list may differ
    likes: Share = 0.03  # relative loss of likes a user
    horizon_s: Seconds = 900.0  # how long a user's likes are counted, since the first answer
    away_s: Seconds = 60.0  # how long a user has to be away to be answered by another release
    step_s: Seconds = 120.0  # least duration of a step, since its users have joined


@dataclass(frozen=True)
class Group:
    """Counts of the requests of one group: the canary's users, or as many of the active release's.

    Attributes:
        latency: bucket (`bucket_of`) -> requests.
    """

    requests: int = 0
    errors: int = 0
    degraded: int = 0
    short: int = 0
    wrong: int = 0
    scores: int = 0
    latency: Mapping[int, int] = field(default_factory=dict)

    @property
    def timed(self) -> int:
        return sum(self.latency.values())

    def quantile(self, share: float) -> float:
        """Upper bound, in milliseconds, of the bucket that holds a quantile."""
        ordered, left = sorted(self.latency), share * self.timed
        for bucket in ordered:
            left -= self.latency[bucket]
            if left <= 0:
                return bound_of(bucket)
        return bound_of(ordered[-1])  # of rounding

    def slower_than(self, limit_ms: float) -> int:
        """Requests in the buckets that begin at ``limit_ms`` or later."""
        first = bucket_of(limit_ms)
        return sum(count for bucket, count in self.latency.items() if bucket > first)


@dataclass(frozen=True)
class Likes:
    """Relative difference in likes a user to the active release, with an always-valid interval."""

    estimate: float = 0.0
    low: float = -inf
    high: float = inf
    users: int = 0  # whose horizon is over


@dataclass(frozen=True)
class Counts:
    """What is known of a step of a canary.

    Attributes:
        users: distinct ones that the canary has answered in this step.
        seconds: since the step's users have joined.
        compared, overlap: lists compared with the active release's for the same user; sum of their overlaps.
    """

    canary: Group
    active: Group
    users: int = 0
    seconds: float = 0.0
    compared: int = 0
    overlap: float = 0.0
    likes: Likes = Likes()


@dataclass(frozen=True)
class Decision:
    """What to do; ``reason``: the guardrail that is violated, ``detail``: in figures."""

    action: Action
    reason: str = ""
    detail: str = ""


def decide(counts: Counts, limits: CanarySettings, users: int) -> Decision:
    """Decide on a step of a canary that ends after so many ``users``."""
    for reason, detail in _violated(counts, limits):
        return Decision("roll back", reason, detail)
    compared = min(counts.canary.requests, counts.canary.timed, counts.active.requests) >= FEWEST
    held = compared and counts.seconds >= limits.step_s and counts.users >= users
    return Decision("advance" if held else "hold")


def bucket_of(milliseconds: float) -> int:
    """Bucket of the latency histogram, from 0."""
    return max(ceil(log(max(milliseconds, FIRST_MS) / FIRST_MS) / log(STEP)), 0)


def bound_of(bucket: int) -> float:
    """Upper bound of a bucket in milliseconds."""
    return FIRST_MS * STEP**bucket


def _violated(counts: Counts, limits: CanarySettings) -> list[tuple[str, str]]:
    """The violated guardrails, by name, those first that explain others: wrong scores degrade answers, too."""
    canary, active, found = counts.canary, counts.active, []
    for name in ("scores", "errors", "wrong", "short", "degraded"):
        limit, of = getattr(limits, name), (canary.requests, active.requests)
        if _more(getattr(canary, name), of[0], getattr(active, name), of[1], limit):
            shares = f"{_share(getattr(canary, name), of[0])} of its answers, {_share(getattr(active, name), of[1])}"
            found.append((name, f"{shares} of the active release's"))
    for share, limit in ((0.99, limits.slow), (0.5, MEDIAN_LIMIT)):
        if min(canary.timed, active.timed) < FEWEST:
            continue
        at_most = active.quantile(share) * limits.slower + limits.slower_ms
        slow = canary.slower_than(at_most), canary.timed, active.slower_than(at_most), active.timed
        if _more(*slow, limit):
            shown = f"p{share * 100:.0f} {canary.quantile(share):.0f} ms, {active.quantile(share):.0f} ms"
            found.append(("latency", f"{shown} of the active release"))
    if counts.compared >= FEWEST:
        mean = counts.overlap / counts.compared
        variance = mean * (1 - mean) / counts.compared  # at most, as overlaps are from 0 to 1
        if mean + half_width(counts.compared, variance, PLANNED, ALPHA) < limits.overlap:
            found.append(("distance", f"{mean:.0%} of the first ten items are those of the active release"))
    likes = counts.likes
    if likes.high < -limits.likes:
        interval = f"{likes.estimate:+.1%} ({likes.low:+.1%} to {likes.high:+.1%})"
        found.append(("likes", f"{interval} likes a user, of {likes.users:,} users"))
    return found


def _more(k1: int, n1: int, k0: int, n0: int, limit: float) -> bool:
    """Whether ``k1`` of ``n1`` is surely a larger share than ``k0`` of ``n0`` by over ``limit``.

    Shares are shrunk to a half by one of two, so that a first failure does not look like a share without variance.
    """
    if min(n1, n0) < FEWEST or k1 * n0 <= k0 * n1:
        return False
    shrunk = [(k + 1) / (n + 2) for k, n in ((k1, n1), (k0, n0))]
    variance = sum(p * (1 - p) / n for p, n in zip(shrunk, (n1, n0), strict=True))
    return k1 / n1 - k0 / n0 - half_width(n1 + n0, variance, 2 * PLANNED, ALPHA) > limit


def _share(count: int, total: int) -> str:
    return f"{count / max(total, 1):.1%}"


def as_counts(stored: Mapping[str, int], **more: Any) -> Counts:
    """Counts of what servers have added up (`Tally`): name -> number."""

    def group(arm: str) -> Group:
        own = {name.removeprefix(arm): count for name, count in stored.items() if name.startswith(arm)}
        latency = {int(name[1:]): count for name, count in own.items() if name.startswith("<")}
        return Group(latency=latency, **{name: count for name, count in own.items() if name in COUNTED})

    return Counts(
        group(CANARY), group(ACTIVE),
        compared=stored.get("compared", 0), overlap=stored.get("overlap", 0) / 10, **more,
    )  # fmt: skip
