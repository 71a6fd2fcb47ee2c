"""The decision about a canary: counts of its requests and of the active release's -> go on, advance or roll back.

A pure function, `decide`, which servers and the simulation call alike. Each guardrail is an always-valid test: it may
be looked at after every request, and its probability of rolling back, at any time in a step, a release that is as good
as the active one is `ALPHA` at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, isinf, log
from typing import Annotated, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data_exchange_center.settings import ExtensionSettings, Seconds
from extras.trials.always_valid import Interval, difference, half_width
from extras.trials.state import GROUPS, Model

# Of each of the guardrails in a step: less than 5 % for all of them together
ALPHA: Final = 0.005
ALPHA_LIKES: Final = 0.01  # of all steps
PLANNED: Final = 1_000  # requests of a group where a guardrail is most sensitive
# Requests of each group, or compared lists, before a guardrail decides
FEWEST: Final = 50
TOP: Final = 10  # items of two lists that are compared
STEP: Final = 1.05  # ratio of the latency histogram's bounds
FIRST_MS: Final = 0.5  # ... and its first one
SLOWER, SLOWER_MS = 1.25, 20.0
# As `CanarySettings.slow`, of requests slower than the active release's median
MEDIAN_LIMIT: Final = 0.1
# Guardrails that count failed requests, those first that explain others: wrong scores degrade answers, too
FAILURES: Final = ("scores", "errors", "wrong", "short", "degraded")

NOTHING: Final = Interval()
Action = Literal["hold", "advance", "roll back"]
Share = Annotated[float, Field(ge=0, le=1)]
Found = tuple[float | None, float | None]  # value, certain: as of `Guardrail`


class CanarySettings(ExtensionSettings, env_prefix="RECSYS_CANARY__"):
    """Guardrails: by how much a canary may exceed the active release, as a share of the requests or lists."""

    errors: Share = 0.005  # requests without an answer from the canary
    degraded: Share = 0.02
    short: Share = 0.01  # lists that are empty or too short
    # lists with an item that the active release knows under another id
    wrong: Share = 0.002
    scores: Share = 0.002  # lists whose scores are NaN or all equal
    # requests slower than `SLOWER` times the active release's p99 and `SLOWER_MS`
    slow: Share = 0.01
    # least mean overlap of the first ten items with the active release's; 0: any list may differ
    overlap: Share = 0.15
    likes: Share = 0.03  # relative loss of likes a user
    # loss of likes that feedback has to exclude before the last step ends by itself; 1: none is needed
    evidence: Share = 0.5
    # how long a user's likes are counted, since the first answer
    horizon_s: Seconds = 900.0
    step_s: Seconds = 120.0  # least duration of a step


@dataclass(frozen=True)
class Counts:
    """What is known of a step of a canary.

    Attributes:
        stored: what servers have added up (`extras.trials.tally`): of each group's requests, and of compared lists.
        seconds: since the step began.
        likes: relative difference in likes a user to the active release, of all steps.
    """

    stored: Mapping[str, int]
    seconds: float = 0.0
    likes: Interval = NOTHING

    def of(self, group: str, name: str) -> int:
        """Requests of a group that count against a guardrail, or "requests" for all."""
        return self.stored.get(f"{group}:{name}", 0)

    def latency(self, group: str) -> dict[int, int]:
        """Bucket (`bucket_of`) -> requests, in ascending order."""
        first = f"{group}:<"
        found = {
            int(name.removeprefix(first)): count
            for name, count in self.stored.items()
            if name.startswith(first)
        }
        return dict(sorted(found.items()))


class Guardrail(Model):
    """What a guardrail compares with its bound, which it must not surely exceed."""

    name: str
    bound: float
    value: float | None = None
    """of requests: the canary's share minus the active release's; of items: the share that differs; of likes: the
    relative loss. null: there is nothing to compare yet"""
    certain: float | None = None
    """the lower end of the value's always-valid interval; null: it is too early for one"""

    @property
    def violated(self) -> bool:
        return self.certain is not None and self.certain > self.bound


class Decision(NamedTuple):
    """What to do; ``reason``: the guardrail that is violated, with figures in ``detail``."""

    action: Action
    reason: str = ""
    detail: str = ""


def decide(
    counts: Counts, limits: CanarySettings, requests: int, *, last: bool = False
) -> Decision:
    """Decide on a canary in a step that ends after so many ``requests``; ``last``: the release is activated then."""
    for each in guardrails(counts, limits):
        if each.violated:
            found = f"{each.value:.1%}, at least {each.certain:.1%}"
            return Decision(
                "roll back", each.name, f"{found}; {each.bound:.1%} is allowed"
            )
    answered = counts.of("canary", "requests")
    fewest = min(answered, counts.of("active", "requests"))
    if fewest < FEWEST or counts.seconds < limits.step_s or answered < requests:
        return Decision("hold")
    # Without feedback nothing tells whether other lists are better or worse: a person decides
    if last and limits.evidence < 1 and counts.likes.low <= -limits.evidence:
        return Decision("hold")
    return Decision("advance")


def guardrails(counts: Counts, limits: CanarySettings) -> list[Guardrail]:
    """All guardrails, those first that explain others."""
    found: list[tuple[str, float, Found]] = []
    for name in FAILURES:
        failed = [(counts.of(arm, name), counts.of(arm, "requests")) for arm in GROUPS]
        found.append((name, getattr(limits, name), _excess(*failed)))
    latencies = [counts.latency(arm) for arm in GROUPS]
    for share, bound in ((0.99, limits.slow), (0.5, MEDIAN_LIMIT)):
        at_most = quantile(latencies[1], share) * SLOWER + SLOWER_MS
        slow = [(slower_than(each, at_most), sum(each.values())) for each in latencies]
        found.append(("latency", bound, _excess(*slow)))
    found.append(("distance", 1 - limits.overlap, _distance(counts.stored)))
    likes = counts.likes
    loss = (None, None) if isinf(likes.high) else (-likes.estimate, -likes.high)
    found.append(("likes", limits.likes, loss))
    return [
        Guardrail(name=name, bound=bound, value=value, certain=certain)
        for name, bound, (value, certain) in found
    ]


def _excess(canary: tuple[int, int], active: tuple[int, int]) -> Found:
    """By how much the canary's share, k of n, is larger than the active release's, and by how much it surely is.

    Shares are shrunk to a half by one of two, so that a first failure does not look like a share without variance.
    """
    (k1, n1), (k0, n0) = canary, active
    if not n1 or not n0:
        return None, None
    value = k1 / n1 - k0 / n0
    if min(n1, n0) < FEWEST:
        return value, None
    shrunk = [((k + 1) / (n + 2), n) for k, n in (canary, active)]
    variance = sum(share * (1 - share) / n for share, n in shrunk)
    return value, value - half_width(n1 + n0, variance, 2 * PLANNED, ALPHA)


def _distance(stored: Mapping[str, int]) -> Found:
    """The share of the first ten items that the active release does not list."""
    compared = stored.get("compared", 0)
    if not compared:
        return None, None
    value = 1 - stored["overlap"] / TOP / compared
    if compared < FEWEST:
        return value, None
    # at most, as overlaps are from 0 to 1
    variance = value * (1 - value) / compared
    return value, value - half_width(compared, variance, PLANNED, ALPHA)


def relative_likes(
    values: NDArray[np.float64], treated: NDArray[np.bool_], planned: int
) -> Interval:
    """Relative difference in likes a user of the canary's users to the others.

    Args:
        values: (n,) likes of each user, in the users' order of arrival.
        treated: (n,) whether the user is the canary's.
        planned: after how many users the interval is narrowest.
    """
    found = difference(values, treated, planned, ALPHA_LIKES)
    if isinf(found.low) or not values[~treated].any():
        return NOTHING
    mean = float(values[~treated].mean())
    return Interval(*(each / mean for each in found))


def quantile(latency: Mapping[int, int], share: float) -> float:
    """Upper bound, in milliseconds, of the bucket that holds a quantile; 0 without requests."""
    bound, left = 0.0, share * sum(latency.values())
    for bucket, count in latency.items():
        if left <= 0:
            break
        bound = bound_of(bucket)
        left -= count
    return bound


def slower_than(latency: Mapping[int, int], limit_ms: float) -> int:
    """Requests in the buckets that begin at ``limit_ms`` or later."""
    first = bucket_of(limit_ms)
    return sum(count for bucket, count in latency.items() if bucket > first)


def bucket_of(milliseconds: float) -> int:
    """Bucket of the latency histogram, from 0."""
    return ceil(log(max(milliseconds / FIRST_MS, 1), STEP))


def bound_of(bucket: int) -> float:
    """Upper bound of a bucket in milliseconds."""
    return FIRST_MS * STEP**bucket
