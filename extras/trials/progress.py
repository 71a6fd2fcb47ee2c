"""Report how the canary that runs does: both groups, each guardrail with its bound, and when the next step comes."""

from __future__ import annotations

from math import isfinite
from typing import Any, Literal

from extras.trials.decision import (
    CanarySettings,
    Counts,
    Group,
    Guardrail,
    guardrails,
    has_evidence,
)
from extras.trials.state import Canary, Ended, Model


class GroupReport(Model):
    """A group of users in this step; likes are of all steps."""

    group: Literal["canary", "active"]
    """canary: its users; active: as many of the active release's"""
    release: str
    users: int
    """distinct ones that were answered"""
    requests: int
    errors: int
    """requests without an answer of the release"""
    degraded: int
    short: int
    """lists that are empty or too short"""
    wrong: int
    """lists with an item that the active release knows under another id"""
    scores: int
    """lists whose scores are NaN or all equal"""
    p50_ms: float | None
    """median time of an answer; null: none was timed"""
    p99_ms: float | None
    likes: int
    """liked items that were shown, of the users who were watched for `horizon_s`"""


class Progress(Model):
    """How the canary that runs does."""

    groups: list[GroupReport]
    compared: int
    """lists compared with those of the active release for the same user"""
    overlap: float | None
    """mean share of their first ten items that both releases list; null: no list was compared"""
    guardrails: list[Guardrail]
    """the first that is violated rolls the release back"""
    next: str
    """what comes next, and what it needs"""
    next_at: float | None
    """when, at the present rate: seconds since 1970-01-01 UTC; null: unknown, or a person decides"""


class CanaryReport(Model):
    """The release on trial, if there is one, and those that were, newest first; and how the one that runs does."""

    running: Canary | None = None
    ended: tuple[Ended, ...] = ()
    progress: Progress | None = None
    """of the canary that runs; null: none does"""


def progress(
    canary: Canary, counts: Counts, limits: CanarySettings, now: float
) -> Progress:
    """Report a step of a canary."""
    likes = counts.likes
    coming, at = _next(canary, counts, limits, now)
    groups = (
        ("canary", canary.release, counts.canary, counts.users, likes.canary),
        ("active", canary.active, counts.active, counts.active_users, likes.active),
    )
    return Progress(
        groups=[_group(*group) for group in groups],
        compared=counts.compared,
        overlap=counts.overlap / counts.compared if counts.compared else None,
        guardrails=guardrails(counts, limits),
        next=coming,
        next_at=at,
    )


def _group(
    name: Any, release: str, group: Group, users: int, likes: int
) -> GroupReport:
    return GroupReport(
        group=name,
        release=release,
        users=users,
        requests=group.requests,
        **group.failed,
        p50_ms=round(group.quantile(0.5), 1) if group.timed else None,
        p99_ms=round(group.quantile(0.99), 1) if group.timed else None,
        likes=likes,
    )


def _next(
    canary: Canary, counts: Counts, limits: CanarySettings, now: float
) -> tuple[str, float | None]:
    """What comes next, with what it needs, and when: None where nobody has come yet, or a person decides."""
    low = counts.likes.low
    so_far = f"so far: {low:+.0%}" if isfinite(low) else "so far it excludes none"
    feedback = f"feedback that excludes a loss of {limits.evidence:.0%} of the likes ({so_far})"
    if canary.activating:
        return "the release is being activated", now
    if canary.waiting:
        by_hand = f"`make activate release={canary.release}`"
        return f"activation, by {by_hand} or with {feedback}", None
    needs = f"needs {counts.users:,} of {canary.users:,} users"
    at = None
    missing = max(canary.users - counts.users, 0)
    if counts.users or not missing:
        ready = now + missing * counts.seconds / max(counts.users, 1)
        at = max(canary.joined + limits.step_s, ready)
    if not canary.is_last:
        step, share = canary.step + 1, canary.shares[canary.step + 1]
        coming = f"step {step + 1} of {len(canary.shares)}, {share:.0%} of the users"
        return f"{coming}; {needs}", at
    if has_evidence(counts.likes, limits):
        return f"activation; {needs}", at
    return f"activation; {needs} and {feedback}; else it waits for a person", at
