"""The decision about a canary: counts of its requests and of the active release's -> go on, advance, roll back or wait.

A pure function, `decide`, which servers and the simulation call alike. Each guardrail is an always-valid test: it may
be looked at after every request, and its probability of rolling back, at any time in a step, a release that is as good
as the active one is `ALPHA` at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf, log
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data_exchange_center.settings import ExtensionSettings, Seconds
from extras.trials.always_valid import difference, half_width
from extras.trials.state import Model

# Of each of the guardrails in a step: less than 5 % for all of them together
ALPHA: Final = 0.005
ALPHA_LIKES: Final = 0.01  # of all steps
PLANNED: Final = 1_000  # requests of a group where a guardrail is most sensitive
# Requests of each group, or compared lists, before a guardrail decides
FEWEST: Final = 50
STEP: Final = 1.05  # ratio of the latency histogram's bounds
FIRST_MS: Final = 0.5  # ... and its first one
# As `CanarySettings.slow`, of requests slower than the active release's median
MEDIAN_LIMIT: Final = 0.1
# Share of the requests that a guardrail counts -> what that is; the order of `guardrails`
WORDS: Final = {
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
    # lists with an item that the active release knows under another id
    wrong: Share = 0.002
    scores: Share = 0.002  # lists whose scores are NaN or all equal
    # requests slower than `slower` times the active release's p99 and `slower_ms`
    slow: Share = 0.01
    slower: Annotated[float, Field(ge=1)] = 1.25
    slower_ms: Annotated[float, Field(ge=0)] = 20.0
    # least mean overlap of the first ten items with the active release's; 0: any list may differ
    overlap: Share = 0.15
    likes: Share = 0.03  # relative loss of likes a user
    # loss of likes that feedback has to exclude before the last step ends by itself; 1: none is needed
    evidence: Share = 0.5
    # how long a user's likes are counted, since the first answer
    horizon_s: Seconds = 900.0
    step_s: Seconds = 120.0  # least duration of a step


@dataclass(frozen=True)
class Group:
    """Counts of the requests of one group: the canary's users, or as many of the active release's.

    Attributes:
        failed: guardrail of `WORDS` -> requests that count against it.
        latency: bucket (`bucket_of`) -> requests.
    """

    requests: int
    failed: Mapping[str, int]
    latency: Mapping[int, int]

    @classmethod
    def of(cls, stored: Mapping[str, int], arm: str) -> Group:
        """Counts that servers have added up (`extras.trials.tally`)."""
        failed = {name: stored.get(f"{arm}:{name}", 0) for name in WORDS}
        first = f"{arm}:<"
        latency = {
            int(name.removeprefix(first)): count
            for name, count in stored.items()
            if name.startswith(first)
        }
        return cls(stored.get(f"{arm}:requests", 0), failed, latency)

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

    @classmethod
    def of(
        cls, values: NDArray[np.float64], treated: NDArray[np.bool_], planned: int
    ) -> Likes:
        """From likes.

        Args:
            values: (n,) likes of each user, in the users' order of arrival.
            treated: (n,) whether the user is the canary's.
            planned: after how many users the interval is narrowest.
        """
        sums = int(values[treated].sum()), int(values[~treated].sum())
        found = difference(values, treated, planned, ALPHA_LIKES)
        if not sums[1] or found.low == -inf:
            return cls(0.0, -inf, inf, len(values), *sums)
        mean = float(values[~treated].mean())
        ends = found.low / mean, found.high / mean
        return cls(found.estimate / mean, *ends, len(values), *sums)


@dataclass(frozen=True)
class Counts:
    """What is known of a step of a canary.

    Attributes:
        users: distinct ones that the canary has answered in this step; ``active_users``: of the other group.
        seconds: since the step began.
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

    @classmethod
    def of(cls, stored: Mapping[str, int], **more: Any) -> Counts:
        """Counts that servers have added up (`extras.trials.tally`)."""
        return cls(
            Group.of(stored, "canary"),
            Group.of(stored, "active"),
            compared=stored.get("compared", 0),
            overlap=stored.get("overlap", 0) / 10,
            **more,
        )


class Guardrail(Model):
    """A guardrail: what it compares with its bound, and how sure that is."""

    name: str
    counts: str
    """what is counted, in words"""
    bound: float
    value: float | None = None
    """of requests: the canary's share minus the active release's; of items: their mean share; of likes: the relative
    difference. null: there is nothing to compare yet"""
    certain: float | None = None
    """the end of the value's interval that has to be beyond the bound; null: too little is known"""
    violated: bool = False
    detail: str = ""
    """both groups in figures; empty where there is nothing to compare yet"""


class Decision(NamedTuple):
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
    canary, active = counts.canary, counts.active
    if min(canary.requests, canary.timed, active.requests) < FEWEST:
        return Decision("hold")
    if counts.seconds < limits.step_s or counts.users < users:
        return Decision("hold")
    if last and not has_evidence(counts.likes, limits):
        return Decision("wait")
    return Decision("advance")


def has_evidence(likes: Likes, limits: CanarySettings) -> bool:
    """Whether feedback excludes a loss of likes that a person would have to judge.

    Without feedback no guardrail but `overlap` sees a release whose lists are bad, and lists may differ for good.
    """
    return limits.evidence == 1 or likes.low > -limits.evidence


def guardrails(counts: Counts, limits: CanarySettings) -> list[Guardrail]:
    """All guardrails, those first that explain others: wrong scores degrade answers, too."""
    return [
        *(_share_of_requests(name, counts, limits) for name in WORDS),
        _slow(0.99, counts, limits.slow, limits),
        _slow(0.5, counts, MEDIAN_LIMIT, limits),
        _distance(counts, limits.overlap),
        _likes(counts.likes, -limits.likes),
    ]


def _judged(
    name: str,
    counts: str,
    bound: float,
    value: float | None = None,
    certain: float | None = None,
    detail: str = "",
    *,
    is_least: bool = False,
) -> Guardrail:
    """A guardrail with its value, and the end of its interval, if there are any. ``is_least``: of the bound."""
    violated = certain is not None and (
        certain < bound if is_least else certain > bound
    )
    return Guardrail(
        name=name,
        counts=counts,
        bound=bound,
        value=value,
        certain=certain,
        violated=violated,
        detail=detail,
    )


def _share_of_requests(name: str, counts: Counts, limits: CanarySettings) -> Guardrail:
    canary, active = counts.canary, counts.active
    bound: float = getattr(limits, name)
    if not canary.requests or not active.requests:
        return _judged(name, WORDS[name], bound)
    failed, others = canary.failed[name], active.failed[name]
    found = _excess(failed, canary.requests, others, active.requests)
    detail = (
        f"{failed / canary.requests:.1%} of its answers, "
        f"{others / active.requests:.1%} of the active release's"
    )
    return _judged(name, WORDS[name], bound, *found, detail)


def _slow(
    share: float, counts: Counts, bound: float, limits: CanarySettings
) -> Guardrail:
    canary, active = counts.canary, counts.active
    quantile = f"p{share * 100:.0f}"
    what = f"slower than {limits.slower:g} times the active release's {quantile} + {limits.slower_ms:g} ms"
    if not canary.timed or not active.timed:
        return _judged("latency", what, bound)
    others = active.quantile(share)
    at_most = others * limits.slower + limits.slower_ms
    slow = [(group.slower_than(at_most), group.timed) for group in (canary, active)]
    detail = f"{quantile} {canary.quantile(share):.0f} ms, {others:.0f} ms of the active release"
    return _judged("latency", what, bound, *_excess(*slow[0], *slow[1]), detail)


def _excess(k1: int, n1: int, k0: int, n0: int) -> tuple[float, float | None]:
    """By how much ``k1`` of ``n1`` is a larger share than ``k0`` of ``n0``, and by how much it surely is.

    Shares are shrunk to a half by one of two, so that a first failure does not look like a share without variance.
    """
    value = k1 / n1 - k0 / n0
    if min(n1, n0) < FEWEST:
        return value, None
    shrunk_1, shrunk_0 = (k1 + 1) / (n1 + 2), (k0 + 1) / (n0 + 2)
    variance = shrunk_1 * (1 - shrunk_1) / n1 + shrunk_0 * (1 - shrunk_0) / n0
    return value, value - half_width(n1 + n0, variance, 2 * PLANNED, ALPHA)


def _distance(counts: Counts, bound: float) -> Guardrail:
    what = "items of the first ten that the active release lists, too"
    if not counts.compared:
        return _judged("distance", what, bound)
    mean, certain = counts.overlap / counts.compared, None
    if counts.compared >= FEWEST:
        # at most, as overlaps are from 0 to 1
        variance = mean * (1 - mean) / counts.compared
        certain = mean + half_width(counts.compared, variance, PLANNED, ALPHA)
    detail = f"{mean:.0%} of the first ten items are those of the active release"
    return _judged("distance", what, bound, mean, certain, detail, is_least=True)


def _likes(likes: Likes, bound: float) -> Guardrail:
    what = "likes a user, relative to the active release's"
    if likes.high == inf:
        return _judged("likes", what, bound)
    interval = f"{likes.estimate:+.1%} ({likes.low:+.1%} to {likes.high:+.1%})"
    detail = f"{interval} likes a user, of {likes.users:,} users"
    found = likes.estimate, likes.high
    return _judged("likes", what, bound, *found, detail, is_least=True)


def bucket_of(milliseconds: float) -> int:
    """Bucket of the latency histogram, from 0."""
    return max(ceil(log(max(milliseconds, FIRST_MS) / FIRST_MS) / log(STEP)), 0)


def bound_of(bucket: int) -> float:
    """Upper bound of a bucket in milliseconds."""
    return FIRST_MS * STEP**bucket
