"""The decision about a canary: counts of its requests and of the active release's -> go on, advance, roll back or wait.

A pure function, `decide`, which servers and the simulation call alike. Each guardrail is an always-valid test: it may
be looked at after every request, and its probability of rolling back, at any time in a step, a release that is as good
as the active one is `ALPHA` at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, inf, log
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.settings import ExtensionSettings, Seconds
from extras.experiments.always_valid import half_width

ALPHA: Final = (
    0.005  # of each of the guardrails in a step: less than 5 % for all of them together
)
PLANNED: Final = 1_000  # requests of a group after which a guardrail is most sensitive
FEWEST: Final = (
    50  # requests of each group, or compared lists, before a guardrail decides
)
STEP: Final = 1.05  # ratio of the latency histogram's bounds
FIRST_MS: Final = 0.5  # ... and its first one
MEDIAN_LIMIT: Final = (
    0.1  # as `CanarySettings.slow`, of requests slower than the active release's median
)

CANARY, ACTIVE = "canary:", "active:"  # prefixes of a group's counts
WORDS: Final = {  # share of the requests that a guardrail counts -> what that is; the order of `guardrails`
    "scores": "scores that are NaN or all equal",
    "errors": "no answer of the release",
    "wrong": "an item under another id",
    "short": "lists that are empty or too short",
    "degraded": "degraded answers",
}

Action = Literal["hold", "advance", "roll back", "wait"]
Share = Annotated[float, Field(ge=0, le=1)]


class CanarySettings(ExtensionSettings, env_prefix="RECSYS_CANARY__"):
    """Guardrails: by how much a canary may exceed the active release, as a share of the requests or lists."""

    errors: Share = 0.005  # requests without an answer from the canary
    degraded: Share = 0.02
    short: Share = 0.01  # lists that are empty or too short
    wrong: Share = (
        0.002  # lists with an item that the active release knows under another id
    )
    scores: Share = 0.002  # lists whose scores are NaN or all equal
    slow: Share = 0.01  # requests slower than `slower` times the active release's p99 and `slower_ms`
    slower: Annotated[float, Field(ge=1)] = 1.25
    slower_ms: Annotated[float, Field(ge=0)] = 20.0
    overlap: Share = 0.15  # least mean overlap of the first ten items with the active release's; 0: any list may differ
    likes: Share = 0.03  # relative loss of likes a user
    # Loss of likes that feedback has to exclude before the last step ends by itself; 1: none is needed.
    evidence: Share = 0.5
    horizon_s: Seconds = (
        900.0  # how long a user's likes are counted, since the first answer
    )
    away_s: Seconds = (
        60.0  # how long a user has to be away to be answered by another release
    )
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
    """Relative difference in likes a user to the active release, with an always-valid interval.

    Attributes:
        users: whose horizon is over.
        canary, active: liked items of these users, in each group.
    """

    estimate: float = 0.0
    low: float = -inf
    high: float = inf
    users: int = 0
    canary: int = 0
    active: int = 0


@dataclass(frozen=True)
class Counts:
    """What is known of a step of a canary.

    Attributes:
        users: distinct ones that the canary has answered in this step; ``active_users``: of the other group.
        seconds: since the step's users have joined.
        compared, overlap: lists compared with the active release's for the same user; sum of their overlaps.
    """

    canary: Group
    active: Group
    users: int = 0
    active_users: int = 0
    seconds: float = 0.0
    compared: int = 0
    overlap: float = 0.0
    likes: Likes = Likes()


class Guardrail(BaseModel):
    """A guardrail: what it compares with its bound, and how sure that is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    counts: str = Field(description="what is counted, in words")
    value: float | None = Field(
        description="of requests: the canary's share minus the active release's; of items: their mean share; of likes: "
        "the relative difference. null: there is nothing to compare yet"
    )
    certain: float | None = Field(
        description="the end of the value's interval that has to be beyond the bound; null: too little is known"
    )
    bound: float
    violated: bool
    detail: str = Field(
        description="both groups in figures; empty where there is nothing to compare yet"
    )


@dataclass(frozen=True)
class Decision:
    """What to do; ``reason``: the guardrail that is violated, ``detail``: in figures."""

    action: Action
    reason: str = ""
    detail: str = ""


def decide(
    counts: Counts, limits: CanarySettings, users: int, last: bool = False
) -> Decision:
    """Decide on a step of a canary that ends after so many ``users``; ``last``: the release is activated then."""
    for each in guardrails(counts, limits):
        if each.violated:
            return Decision("roll back", each.name, each.detail)
    compared = (
        min(counts.canary.requests, counts.canary.timed, counts.active.requests)
        >= FEWEST
    )
    held = compared and counts.seconds >= limits.step_s and counts.users >= users
    if not held:
        return Decision("hold")
    if last and not has_evidence(counts.likes, limits):
        return Decision("wait")
    return Decision("advance")


def has_evidence(likes: Likes, limits: CanarySettings) -> bool:
    """Whether feedback excludes a loss of likes that a person would have to judge.

    Without feedback no guardrail but `overlap` sees a release whose lists are bad, and lists may differ for good.
    """
    return limits.evidence == 1 or likes.low > -limits.evidence


def bucket_of(milliseconds: float) -> int:
    """Bucket of the latency histogram, from 0."""
    return max(ceil(log(max(milliseconds, FIRST_MS) / FIRST_MS) / log(STEP)), 0)


def bound_of(bucket: int) -> float:
    """Upper bound of a bucket in milliseconds."""
    return FIRST_MS * STEP**bucket


def guardrails(counts: Counts, limits: CanarySettings) -> list[Guardrail]:
    """All guardrails, those first that explain others: wrong scores degrade answers, too."""
    shares = [_share_of_requests(name, counts, limits) for name in WORDS]
    slow = [
        _slow(0.99, counts, limits.slow, limits),
        _slow(0.5, counts, MEDIAN_LIMIT, limits),
    ]
    return [*shares, *slow, _distance(counts, limits), _likes(counts.likes, limits)]


def _share_of_requests(name: str, counts: Counts, limits: CanarySettings) -> Guardrail:
    canary, active = counts.canary, counts.active
    failed, others = getattr(canary, name), getattr(active, name)
    detail = (
        f"{_percent(failed, canary.requests)} of its answers, "
        f"{_percent(others, active.requests)} of the active release's"
    )
    return _excess(
        name,
        WORDS[name],
        failed,
        canary.requests,
        others,
        active.requests,
        getattr(limits, name),
        detail,
    )


def _slow(
    share: float, counts: Counts, bound: float, limits: CanarySettings
) -> Guardrail:
    canary, active = counts.canary, counts.active
    quantile = f"p{share * 100:.0f}"
    if not canary.timed or not active.timed:
        what = f"slower than {limits.slower:g} times the active release's {quantile} + {limits.slower_ms:g} ms"
        return Guardrail(
            name="latency",
            counts=what,
            value=None,
            certain=None,
            bound=bound,
            violated=False,
            detail="",
        )
    at_most = active.quantile(share) * limits.slower + limits.slower_ms
    slow, others = canary.slower_than(at_most), active.slower_than(at_most)
    detail = f"{quantile} {canary.quantile(share):.0f} ms, {active.quantile(share):.0f} ms of the active release"
    what = f"slower than {at_most:.0f} ms, of the active release's {quantile}"
    return _excess(
        "latency", what, slow, canary.timed, others, active.timed, bound, detail
    )


def _distance(counts: Counts, limits: CanarySettings) -> Guardrail:
    mean = counts.overlap / counts.compared if counts.compared else None
    certain = None
    if mean is not None and counts.compared >= FEWEST:
        variance = (
            mean * (1 - mean) / counts.compared
        )  # at most, as overlaps are from 0 to 1
        certain = mean + half_width(counts.compared, variance, PLANNED, ALPHA)
    return Guardrail(
        name="distance",
        counts="items of the first ten that the active release lists, too",
        value=mean,
        certain=certain,
        bound=limits.overlap,
        violated=certain is not None and certain < limits.overlap,
        detail=f"{mean or 0:.0%} of the first ten items are those of the active release",
    )


def _likes(likes: Likes, limits: CanarySettings) -> Guardrail:
    is_known = likes.high < inf
    interval = f"{likes.estimate:+.1%} ({likes.low:+.1%} to {likes.high:+.1%})"
    return Guardrail(
        name="likes",
        counts="likes a user, relative to the active release's",
        value=likes.estimate if is_known else None,
        certain=likes.high if is_known else None,
        bound=-limits.likes,
        violated=likes.high < -limits.likes,
        detail=f"{interval} likes a user, of {likes.users:,} users",
    )


def _excess(
    name: str, what: str, k1: int, n1: int, k0: int, n0: int, bound: float, detail: str
) -> Guardrail:
    """Whether ``k1`` of ``n1`` is surely a larger share than ``k0`` of ``n0`` by over ``bound``.

    Shares are shrunk to a half by one of two, so that a first failure does not look like a share without variance.
    """
    value = k1 / n1 - k0 / n0 if n1 and n0 else None
    certain = None
    if value is not None and min(n1, n0) >= FEWEST:
        shrunk = [(k + 1) / (n + 2) for k, n in ((k1, n1), (k0, n0))]
        variance = sum(p * (1 - p) / n for p, n in zip(shrunk, (n1, n0), strict=True))
        certain = value - half_width(n1 + n0, variance, 2 * PLANNED, ALPHA)
    violated = certain is not None and certain > bound
    return Guardrail(
        name=name,
        counts=what,
        value=value,
        certain=certain,
        bound=bound,
        violated=violated,
        detail=detail,
    )


def _percent(count: int, total: int) -> str:
    return f"{count / max(total, 1):.1%}"


def as_counts(stored: Mapping[str, int], **more: Any) -> Counts:
    """Counts of what servers have added up (`Tally`): name -> number."""

    def group(arm: str) -> Group:
        own = {
            name.removeprefix(arm): count
            for name, count in stored.items()
            if name.startswith(arm)
        }
        latency = {
            int(name[1:]): count for name, count in own.items() if name.startswith("<")
        }
        return Group(
            latency=latency,
            **{
                name: count
                for name, count in own.items()
                if name in ("requests", *WORDS)
            },
        )

    return Counts(
        group(CANARY),
        group(ACTIVE),
        compared=stored.get("compared", 0),
        overlap=stored.get("overlap", 0) / 10,
        **more,
    )
