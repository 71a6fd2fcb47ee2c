"""Report how the canary that runs does: both groups, each guardrail with its bound, and when the next step comes."""

from __future__ import annotations

import time
from math import isfinite

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Column, Table

from extras.canary.decision import (
    CanarySettings,
    Counts,
    Group,
    Guardrail,
    guardrails,
    has_evidence,
)
from extras.canary.state import Canaries, Canary, Member


class GroupReport(BaseModel):
    """A group of users in this step; likes are of all steps."""

    model_config = ConfigDict(extra="forbid")

    group: Member = Field(
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


class CanaryReport(Canaries):
    """The canaries, and how the one that runs does."""

    progress: Progress | None = Field(
        description="of the canary that runs; null: none does"
    )


def progress(
    canary: Canary, counts: Counts, limits: CanarySettings, now: float
) -> Progress:
    """Report a step of a canary."""
    coming, at = _next(canary, counts, limits, now)
    likes = counts.likes
    return Progress(
        groups=[
            _group("canary", canary.release, counts.canary, counts.users, likes.canary),
            _group(
                "active",
                canary.active,
                counts.active,
                counts.active_users,
                likes.active,
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


def _group(
    name: Member, release: str, group: Group, users: int, likes: int
) -> GroupReport:
    return GroupReport(
        group=name,
        release=release,
        users=users,
        requests=group.requests,
        errors=group.errors,
        degraded=group.degraded,
        short=group.short,
        wrong=group.wrong,
        scores=group.scores,
        p50_ms=round(group.quantile(0.5), 1) if group.timed else None,
        p99_ms=round(group.quantile(0.99), 1) if group.timed else None,
        likes=likes,
    )


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
        return (
            f"activation, by `make activate release={canary.release}` or with {feedback}",
            None,
        )
    if canary.step == 0 and now < canary.joined:
        return "the first users join", canary.joined
    needs = f"{counts.users:,} of {canary.users:,} users"
    if not canary.is_last:
        coming = f"step {canary.step + 2} of {len(canary.shares)}, {canary.shares[canary.step + 1]:.0%} of the users"
    elif has_evidence(counts.likes, limits):
        coming = "activation"
    else:
        coming, needs = (
            "activation",
            f"{needs} and {feedback}; else it waits for a person",
        )
    return f"{coming}; needs {needs}", _expected(canary, counts, limits, now)


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


# --- for the command line


def tables(found: Progress) -> list[Table]:
    """The groups, the guardrails, and what comes next."""
    groups = Table(
        *(Column(name, overflow="fold") for name in ("", "canary", "active")),
        title="groups, in this step",
    )
    canary, active = found.groups
    for name in GroupReport.model_fields:
        if name != "group":
            groups.add_row(
                name, _shown(getattr(canary, name)), _shown(getattr(active, name))
            )
    overlap = "-" if found.overlap is None else f"{found.overlap:.1%}"
    groups.add_row("overlap", f"{overlap} of {found.compared:,} lists", "")
    columns = ("guardrail", "counts", "value", "certain", "bound")
    caption = "The release is rolled back once `certain`, an end of the value's interval, is beyond the bound."
    bounds = Table(
        *(Column(name, overflow="fold") for name in columns),
        title="guardrails",
        caption=caption,
    )
    for each in found.guardrails:
        numbers = (
            _percent(number) for number in (each.value, each.certain, each.bound)
        )
        bounds.add_row(each.name, each.counts, *numbers)
    at = (
        ""
        if found.next_at is None
        else f"about {time.strftime('%H:%M:%S', time.gmtime(found.next_at))} UTC"
    )
    coming = Table("next", "when", title="next step")
    coming.add_row(found.next, at)
    return [groups, bounds, coming]


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
