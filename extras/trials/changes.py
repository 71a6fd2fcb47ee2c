"""How trials begin, change and end: functions of the value that Redis holds. One trial runs at a time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping
from typing import Any, Final

from extras.trials.decision import Decision
from extras.trials.state import (
    Canary,
    Declaration,
    Experiment,
    TrialError,
    Trials,
    Verdict,
)

KEPT: Final = 100  # experiments, and canaries that have ended
# Shares after the one that a canary begins with; then the release is activated
STEPS: Final = (0.25, 0.5)
MAX_SHARE: Final = 0.5  # as many users are the group that it is compared with
Published = Mapping[str, str]  # release -> `Dataset.base_name`


def require_no_trial(before: Trials) -> None:
    """Raises TrialError while a canary or an experiment runs."""
    if (trial := before.running) is not None:
        raise TrialError(
            "release",
            f"A trial runs already, {trial.name}: `make canary stop=1` or `make experiment-stop name={trial.name}`.",
        )


# --- experiments


def start_experiment(
    before: Trials, declared: Declaration, published: Published
) -> Trials:
    """Add an experiment, which runs from now on. Raises TrialError."""
    require_no_trial(before)
    if any(each.name == declared.name for each in before.experiments):
        raise TrialError(
            "name",
            f"There is an experiment called {declared.name!r}. Choose a new name: its log bears the name.",
        )
    releases = [arm.release for arm in declared.arms.values()]
    datasets = {published.get(release, "") for release in releases}
    if "" in datasets or len(datasets) > 1:
        raise TrialError(
            "arms",
            "Each arm needs a published release (make releases), all of one data set",
        )
    new = Experiment(
        **declared.model_dump(), dataset=datasets.pop(), started=int(time.time())
    )
    kept = (*before.experiments, new)[-KEPT:]
    return before.model_copy(update={"experiments": kept})


def stop_experiment(before: Trials, name: str) -> Trials:
    """Stop an experiment. Raises TrialError."""
    return _changed(before, name, {"stopped": int(time.time())})


def reshare(before: Trials, name: str, share: float) -> Trials:
    """Change an experiment's share: users join or leave, and nobody changes arms. Raises TrialError."""
    if not 0 < share <= 1:
        raise TrialError("share", f"share must be above 0 and at most 1, not {share:g}")
    return _changed(before, name, {"share": share})


def _changed(before: Trials, name: str, update: dict[str, Any]) -> Trials:
    found = before.named(name)
    if found is not before.running:
        raise TrialError("name", f"Experiment {name!r} is stopped")
    *others, last = before.experiments
    changed = (*others, last.model_copy(update=update))
    return before.model_copy(update={"experiments": changed})


# --- canaries


def start_canary(
    before: Trials,
    release: str,
    active: str | None,
    published: Published,
    *,
    share: float,
    requests: int,
) -> Trials:
    """Begin a canary, whose steps need so many requests. Raises TrialError."""
    require_no_trial(before)
    if not 0 < share <= MAX_SHARE:
        raise TrialError(
            "share", f"share must be above 0 and at most {MAX_SHARE:g}, not {share:g}."
        )
    dataset = published.get(active or "")
    if (
        active in (None, release)
        or dataset is None
        or published.get(release) != dataset
    ):
        raise TrialError(
            "release",
            f"Release {release} is not published next to the active release {active}, of the same data set: "
            "make releases lists them, make publish adds one",
        )
    now = time.time()
    canary = Canary(
        name=f"canary-{uuid.uuid4().hex[:12]}",
        release=release,
        active=active,
        dataset=dataset,
        shares=(share, *(step for step in STEPS if step > share)),
        requests=requests,
        began=now,
        joined=now,
    )
    return before.model_copy(update={"canary": canary})


def follow_decision(before: Trials, canary: Canary, decision: Decision) -> Trials:
    """Follow a decision, unless the canary is not as it was when it was decided on."""
    if before.canary != canary or decision.action == "hold" or canary.activating:
        return before
    if decision.action == "roll back":
        why = decision.reason, decision.detail
        return end_canary(before, canary, "rolled back", *why)
    update: dict[str, Any] = {"activating": True}
    if not canary.is_last:
        update = {"step": canary.step + 1, "joined": time.time()}
    return before.model_copy(update={"canary": canary.model_copy(update=update)})


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
        return end_canary(before, canary, "stopped", "superseded")
    return before


def end_canary(
    before: Trials, canary: Canary, verdict: Verdict, reason: str = "", detail: str = ""
) -> Trials:
    """With the canary among those that have ended."""
    end = {
        "verdict": verdict,
        "reason": reason,
        "detail": detail,
        "ended": time.time(),
    }
    ended = (canary.model_copy(update=end), *before.ended)[:KEPT]
    return before.model_copy(update={"canary": None, "ended": ended})
