"""How trials begin, change and end: pure functions of the value that Redis holds.

While an experiment runs no canary can, and the other way round, as both decide on users' releases.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from extras.trials.assignment import BUCKETS, Ranges, places, resized
from extras.trials.decision import Decision
from extras.trials.state import (
    DELETED,
    SUPERSEDED,
    Canary,
    Declaration,
    Ended,
    Experiment,
    TrialError,
    Trials,
    Verdict,
)

KEPT: Final = 200  # experiments, running ones included; the oldest stopped ones go
KEPT_CANARIES: Final = 50  # that have ended
# Shares after the one that a canary begins with; then the release is activated
STEPS: Final = (0.25, 0.5)
MAX_SHARE: Final = 0.5  # as many users are the group that it is compared with
USERS: Final = 1_000  # of a step, where so many may come
Published = Mapping[str, str]  # release -> `Dataset.base_name`


# --- experiments


def start_experiment(
    before: Trials, declared: Declaration, published: Published, now: int
) -> Trials:
    """Add an experiment, which runs from now on. Raises TrialError."""
    require_no_canary(before)
    if any(each.name == declared.name for each in before.experiments):
        raise TrialError(
            "name",
            f"There is an experiment called {declared.name!r}. Choose a new name: its log bears the name.",
        )
    for name, arm in declared.arms.items():
        if arm.release not in published:
            there = ", ".join(published) or "none"
            raise TrialError(
                "arms",
                f"Arm {name!r} names release {arm.release}, which is not published; published: {there}",
            )
    datasets = {published[arm.release] for arm in declared.arms.values()}
    if len(datasets) > 1:
        raise TrialError(
            "arms",
            f"The arms' releases are of several data sets: {', '.join(sorted(datasets))}",
        )
    new = Experiment(
        **declared.model_dump(),
        dataset=datasets.pop(),
        buckets=_buckets(before, declared, declared.share),
        started=now,
    )
    running = [each for each in before.experiments if each.runs]
    over = [each for each in before.experiments if not each.runs]
    too_many = max(len(over) + len(running) + 1 - KEPT, 0)
    experiments = (*over[too_many:], *running, new)
    return before.model_copy(update={"experiments": experiments})


def stop_experiment(before: Trials, name: str, now: int) -> Trials:
    """Stop an experiment. Raises TrialError."""
    return _changed(before, _running(before, name), {"stopped": now})


def reshare(before: Trials, name: str, share: float) -> Trials:
    """Change an experiment's share: users join or leave, and nobody changes arms. Raises TrialError."""
    if not 0 < share <= 1:
        raise TrialError("share", f"share must be above 0 and at most 1, not {share:g}")
    found = _running(before, name)
    buckets = _buckets(before, found, share, found.buckets)
    return _changed(before, found, {"share": share, "buckets": buckets})


def _running(before: Trials, name: str) -> Experiment:
    found = before.named(name)
    if not found.runs:
        raise TrialError("name", f"Experiment {name!r} is stopped")
    return found


def _buckets(
    before: Trials, declared: Declaration, share: float, held: Ranges = ()
) -> Ranges:
    others = [
        each.buckets
        for each in before.experiments
        if each.runs and each.name != declared.name
    ]
    buckets = resized(held, others, max(round(share * BUCKETS), 1))
    if buckets is None:
        free = 1 - len(places(others)) / BUCKETS
        raise TrialError(
            "share",
            f"{share:.2%} of the users are wanted, and {free:.2%} are in no other experiment. "
            "Take a smaller share, or stop an experiment.",
        )
    return buckets


def _changed(before: Trials, found: Experiment, update: dict[str, Any]) -> Trials:
    changed = found.model_copy(update=update)
    experiments = tuple(
        changed if each.name == found.name else each for each in before.experiments
    )
    return before.model_copy(update={"experiments": experiments})


# --- canaries


def require_no_canary(before: Trials) -> None:
    """Raises TrialError."""
    if before.canary is not None:
        raise TrialError(
            "release",
            f"A canary runs already ({before.canary}), and decides on users' releases: "
            "`make canary stop=1` ends it.",
        )


def require_no_trial(before: Trials) -> None:
    """Raises TrialError while a canary or an experiment runs."""
    require_no_canary(before)
    for each in before.experiments:
        if each.runs:
            raise TrialError(
                "release",
                f"Experiment {each.name!r} decides on users' releases: "
                f"`make experiment-stop name={each.name}` ends it.",
            )


def start_canary(
    before: Trials,
    release: str,
    active: str | None,
    published: Published,
    *,
    share: float,
    users: int | None,
    known: int,
    now: float,
    new_id: str,
) -> Trials:
    """Begin a canary. Raises TrialError.

    Args:
        users: of each step; None: `USERS`, or as many as fit.
        known: users of the active release. A step may need half of its share of them: not all come.
    """
    require_no_trial(before)
    if not 0 < share <= MAX_SHARE:
        raise TrialError(
            "share", f"share must be above 0 and at most {MAX_SHARE:g}, not {share:g}."
        )
    if active is None:
        raise TrialError(
            "release",
            "No release is active to compare with: `make sync` activates one.",
        )
    if release not in published:
        there = ", ".join(each for each in published if each != active) or "none"
        raise TrialError(
            "release",
            f"Release {release} is not published; published besides the active one: {there}",
        )
    if release == active:
        raise TrialError(
            "release",
            f"Release {release} is the active one: name another that is published.",
        )
    if published[release] != published.get(active):
        raise TrialError(
            "release",
            f"Release {release} is of another data set than the active release {active}.",
        )
    most = int(share * known / 2)
    users = min(USERS, most) if users is None else users
    if not 1 <= users <= most:
        of = f"half of {share:g} of the {known:,} users of release {active}"
        raise TrialError(
            "users",
            f"users must be from 1 to {most:,} ({of}), not {users:,}: or name a larger share.",
        )
    canary = Canary(
        id=new_id,
        release=release,
        active=active,
        dataset=published[release],
        shares=(share, *(step for step in STEPS if step > share)),
        users=users,
        began=now,
        joined=now,
    )
    return before.model_copy(update={"canary": canary})


def follow_decision(
    before: Trials, canary: Canary, decision: Decision, now: float
) -> Trials:
    """Follow a decision, unless the canary is not as it was when it was decided on."""
    if before.canary != canary or decision.action == "hold" or canary.activating:
        return before
    if decision.action == "roll back":
        return end_canary(
            before, canary, "rolled back", decision.reason, decision.detail, now=now
        )
    update: dict[str, Any] = {"step": canary.step + 1, "joined": now}
    if decision.action == "wait":
        update = {"waiting": True}
    elif canary.is_last:
        update = {"activating": True, "waiting": False}
    return before.model_copy(update={"canary": canary.model_copy(update=update)})


def end_canary(
    before: Trials,
    canary: Canary,
    verdict: Verdict,
    reason: str = "",
    detail: str = "",
    *,
    now: float,
) -> Trials:
    """End a canary, unless another process has."""
    if before.canary is None or before.canary.id != canary.id:
        return before
    entry = Ended(
        id=canary.id,
        release=canary.release,
        active=canary.active,
        share=before.canary.share,
        began=canary.began,
        ended=now,
        verdict=verdict,
        reason=reason,
        detail=detail,
    )
    ended = (entry, *before.ended)[:KEPT_CANARIES]
    return before.model_copy(update={"canary": None, "ended": ended})


def settle_canary(
    before: Trials, active: str | None, published: Collection[str], now: float
) -> Trials:
    """End a canary whose release was activated or deleted, or whose active release was replaced."""
    canary = before.canary
    if canary is None:
        return before
    if active == canary.release:
        by = "" if canary.activating else "by hand"
        return end_canary(before, canary, "activated", by, now=now)
    if canary.release not in published:
        gone = "its release was deleted"
        return end_canary(before, canary, "rolled back", DELETED, gone, now=now)
    if active != canary.active:
        other = f"release {active} was activated"
        return end_canary(before, canary, "rolled back", SUPERSEDED, other, now=now)
    return before
