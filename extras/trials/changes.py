"""How trials begin, change and end: functions of the value that Redis holds.

While an experiment runs no canary can, and the other way round, as both decide on users' releases.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping
from typing import Any, Final

from extras.trials.decision import Decision
from extras.trials.state import (
    BUCKETS,
    Canary,
    Declaration,
    Ended,
    Experiment,
    Ranges,
    TrialError,
    Trials,
    Verdict,
)

KEPT: Final = 200  # experiments besides a new one
KEPT_CANARIES: Final = 50  # that have ended
# Shares after the one that a canary begins with; then the release is activated
STEPS: Final = (0.25, 0.5)
MAX_SHARE: Final = 0.5  # as many users are the group that it is compared with
USERS: Final = 1_000  # of a step, where so many may come
Published = Mapping[str, str]  # release -> `Dataset.base_name`


# --- experiments


def start_experiment(
    before: Trials, declared: Declaration, published: Published
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
        buckets=_buckets(before, declared.name, declared.share),
        started=int(time.time()),
    )
    # the oldest stopped ones go
    kept = sorted(before.experiments, key=lambda each: each.runs)[-KEPT:]
    return before.model_copy(update={"experiments": (*kept, new)})


def stop_experiment(before: Trials, name: str) -> Trials:
    """Stop an experiment. Raises TrialError."""
    return _changed(before, name, {"stopped": int(time.time())})


def reshare(before: Trials, name: str, share: float) -> Trials:
    """Change an experiment's share: users join or leave, and nobody changes arms. Raises TrialError."""
    if not 0 < share <= 1:
        raise TrialError("share", f"share must be above 0 and at most 1, not {share:g}")
    buckets = _buckets(before, name, share, before.named(name).buckets)
    return _changed(before, name, {"share": share, "buckets": buckets})


def _changed(before: Trials, name: str, update: dict[str, Any]) -> Trials:
    found = before.named(name)
    if not found.runs:
        raise TrialError("name", f"Experiment {name!r} is stopped")
    experiments = tuple(
        each.model_copy(update=update) if each is found else each
        for each in before.experiments
    )
    return before.model_copy(update={"experiments": experiments})


def _buckets(before: Trials, name: str, share: float, held: Ranges = ()) -> Ranges:
    """Choose buckets for a share of the users, as many of those ``held`` as possible. Raises TrialError.

    So as few users as possible join or leave.
    """
    others = set[int]()
    for each in before.experiments:
        if each.runs and each.name != name:
            others.update(places(each.buckets))
    mine = sorted(places(held))
    free = sorted(set(range(BUCKETS)) - others - set(mine))
    size = max(round(share * BUCKETS), 1)
    chosen = sorted((mine + free)[:size])
    if len(chosen) < size:
        left = 1 - len(others) / BUCKETS
        raise TrialError(
            "share",
            f"{share:.2%} of the users are wanted, and {left:.2%} are in no other experiment. "
            "Take a smaller share, or stop an experiment.",
        )
    ranges: list[tuple[int, int]] = []
    for place in chosen:
        if ranges and ranges[-1][1] == place:
            ranges[-1] = ranges[-1][0], place + 1
        else:
            ranges.append((place, place + 1))
    return tuple(ranges)


def places(ranges: Ranges) -> set[int]:
    """All buckets of some ranges."""
    return {place for bounds in ranges for place in range(*bounds)}


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
    for each in before.running:
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
    dataset = published.get(active or "")
    others = [
        each for each, of in published.items() if each != active and of == dataset
    ]
    if active is None or dataset is None or release not in others:
        raise TrialError(
            "release",
            f"Release {release} is not published next to the active release {active}, of the same data set. "
            f"Name one of: {', '.join(others) or 'none, make publish adds one'}",
        )
    most = int(share * known / 2)
    users = min(USERS, most) if users is None else users
    if not 1 <= users <= most:
        of = f"half of {share:g} of the {known:,} users of release {active}"
        raise TrialError(
            "users",
            f"users must be from 1 to {most:,} ({of}), not {users:,}: or name a larger share.",
        )
    now = time.time()
    canary = Canary(
        id=uuid.uuid4().hex[:12],
        release=release,
        active=active,
        dataset=dataset,
        shares=(share, *(step for step in STEPS if step > share)),
        users=users,
        began=now,
        joined=now,
    )
    return before.model_copy(update={"canary": canary})


def follow_decision(before: Trials, canary: Canary, decision: Decision) -> Trials:
    """Follow a decision, unless the canary is not as it was when it was decided on."""
    if before.canary != canary or decision.action == "hold" or canary.activating:
        return before
    if decision.action == "roll back":
        return end_canary(
            before, canary, "rolled back", decision.reason, decision.detail
        )
    update: dict[str, Any] = {"step": canary.step + 1, "joined": time.time()}
    if decision.action == "wait":
        update = {"waiting": True}
    elif canary.is_last:
        update = {"activating": True, "waiting": False}
    return before.model_copy(update={"canary": canary.model_copy(update=update)})


def end_canary(
    before: Trials, canary: Canary, verdict: Verdict, reason: str = "", detail: str = ""
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
        ended=time.time(),
        verdict=verdict,
        reason=reason,
        detail=detail,
    )
    ended = (entry, *before.ended)[:KEPT_CANARIES]
    return before.model_copy(update={"canary": None, "ended": ended})


def stop_canary(before: Trials) -> Trials:
    """End the canary that runs. Raises TrialError."""
    if before.canary is None:
        raise TrialError("stop", "No canary runs.")
    return end_canary(before, before.canary, "stopped")


def settle_canary(
    before: Trials, active: str | None, published: Collection[str]
) -> Trials:
    """End a canary whose release was activated or deleted, or whose active release was replaced."""
    canary = before.canary
    if canary is None:
        return before
    if active == canary.release:
        by = "" if canary.activating else "by hand"
        return end_canary(before, canary, "activated", by)
    if canary.release not in published:
        return end_canary(before, canary, "stopped", "deleted")
    if active != canary.active:
        return end_canary(before, canary, "stopped", "superseded", f"by {active}")
    return before
