"""Report how the canary that runs does: both groups, each guardrail with its bound, and when the next step comes."""

from __future__ import annotations

from math import isfinite
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from extras.trials.decision import (
    WORDS,
    CanarySettings,
    Counts,
    Group,
    Guardrail,
    guardrails,
    has_evidence,
)
from extras.trials.state import Canary, Ended


class GroupReport(BaseModel):
    """A group of users in this step; likes are of all steps."""

    model_config = ConfigDict(extra="forbid")

    group: Literal["canary", "active"] = Field(
        description="canary: its users; active: as many of the active release's"
    )
    release: str
    users: int = Field(description="distinct ones that were answered")
    requests: int
    errors: int = Field(description="requests without an answer of the release")
    degraded: int
    short: int = Field(description="lists that are empty or too short")
    wrong: int = Field(
        description="lists with an item that the active release knows under another id"
    )
    scores: int = Field(description="lists whose scores are NaN or all equal")
    p50_ms: float | None = Field(
        description="median time of an answer; null: none was timed"
    )
    p99_ms: float | None
    likes: int = Field(
        description="liked items that were shown, of the users who were watched for `horizon_s`"
    )


class Progress(BaseModel):
    """How the canary that runs does."""

    model_config = ConfigDict(extra="forbid")

    groups: list[GroupReport]
    compared: int = Field(
        description="lists compared with those of the active release for the same user"
    )
    overlap: float | None = Field(
        description="mean share of their first ten items that both releases list; null: no list was compared"
    )
    likes_users: int = Field(
        description="users of both groups who were watched for `horizon_s`, of all steps"
    )
    likes_low: float | None = Field(
        description="least relative difference in likes a user that the feedback does not exclude; null: any"
    )
    guardrails: list[Guardrail] = Field(
        description="the first that is violated rolls the release back"
    )
    next: str = Field(description="what comes next, and what it needs")
    next_at: float | None = Field(
        description="when, at the present rate: seconds since 1970-01-01 UTC; null: unknown, or a person decides"
    )


class CanaryReport(BaseModel):
    """The release on trial, if there is one, and those that were, newest first; and how the one that runs does."""

    model_config = ConfigDict(extra="forbid")

    running: Canary | None = None
    ended: tuple[Ended, ...] = ()
    progress: Progress | None = Field(
        default=None, description="of the canary that runs; null: none does"
    )


def progress(
    canary: Canary, counts: Counts, limits: CanarySettings, now: float
) -> Progress:
    """Report a step of a canary."""
    likes = counts.likes
    coming, at = _next(canary, counts, limits, now)
    return Progress(
        groups=[
            GroupReport(
                group="canary",
                release=canary.release,
                users=counts.users,
                likes=likes.canary,
                **_figures(counts.canary),
            ),
            GroupReport(
                group="active",
                release=canary.active,
                users=counts.active_users,
                likes=likes.active,
                **_figures(counts.active),
            ),
        ],
        compared=counts.compared,
        overlap=counts.overlap / counts.compared if counts.compared else None,
        likes_users=likes.users,
        likes_low=likes.low if isfinite(likes.low) else None,
        guardrails=guardrails(counts, limits),
        next=coming,
        next_at=at,
    )


def _figures(group: Group) -> dict[str, Any]:
    figures: dict[str, Any] = {"p50_ms": None, "p99_ms": None}
    if group.timed:
        figures["p50_ms"] = round(group.quantile(0.5), 1)
        figures["p99_ms"] = round(group.quantile(0.99), 1)
    return figures | {name: getattr(group, name) for name in ("requests", *WORDS)}


def _next(
    canary: Canary, counts: Counts, limits: CanarySettings, now: float
) -> tuple[str, float | None]:
    """What comes next, with what it needs, and when."""
    low = counts.likes.low
    so_far = f"so far: {low:+.0%}" if isfinite(low) else "so far it excludes none"
    feedback = f"feedback that excludes a loss of {limits.evidence:.0%} of the likes ({so_far})"
    if canary.activating:
        return "the release is being activated", now
    if canary.waiting:
        by_hand = f"`make activate release={canary.release}`"
        return f"activation, by {by_hand} or with {feedback}", None
    needs = f"needs {counts.users:,} of {canary.users:,} users"
    at = _expected(canary, counts, limits, now)
    if not canary.is_last:
        step, share = canary.step + 1, canary.shares[canary.step + 1]
        coming = f"step {step + 1} of {len(canary.shares)}, {share:.0%} of the users"
        return f"{coming}; {needs}", at
    if has_evidence(counts.likes, limits):
        return f"activation; {needs}", at
    return f"activation; {needs} and {feedback}; else it waits for a person", at


def _expected(
    canary: Canary, counts: Counts, limits: CanarySettings, now: float
) -> float | None:
    """When the step will have its users and its time, if they come as before; None: nobody has come."""
    earliest = canary.joined + limits.step_s
    missing = canary.users - counts.users
    if missing <= 0:
        return max(earliest, now)
    if not counts.users or counts.seconds <= 0:
        return None
    return max(earliest, now + missing * counts.seconds / counts.users)
