"""Starting, stopping and resizing experiments: what may be done to those that there are, and what they are then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extras.experiments.dealing import BUCKETS, n_free, resized
from extras.experiments.declaration import Declaration, Experiment, ExperimentError, Experiments, Ranges, named
from online.clients.redis import RedisUsers

KEPT: Final = 200  # experiments, those that run among them; of the others the oldest are dropped


@dataclass(frozen=True, slots=True)
class Kept:
    """The releases that can be answered from.

    Attributes:
        datasets: release -> its data set, by `Dataset.base_name`: events that have joined it do not matter.
    """

    live: str | None
    datasets: Mapping[str, str]

    @classmethod
    def by(cls, users: RedisUsers) -> Kept:
        """Raises ServiceError."""
        live, activated = users.activated()
        published = [each for release in activated if (each := users.published(release)) is not None]
        return cls(live, {each.manifest.release: each.manifest.dataset.base_name for each in published})


def started(experiments: Experiments, declared: Declaration, kept: Kept, now: int) -> Experiments:
    """With one more, which runs from now on. Raises ExperimentError."""
    if any(each.name == declared.name for each in experiments):
        raise ExperimentError(
            "name", f"There is an experiment called {declared.name!r}", "Choose a new name: its log bears the name."
        )
    for name, arm in declared.arms.items():
        if arm.release not in kept.datasets:
            there = ", ".join(kept.datasets) or "none"
            raise ExperimentError("arms", f"Arm {name!r} names release {arm.release}, which is not kept: {there}")
    datasets = {kept.datasets[arm.release] for arm in declared.arms.values()}
    if len(datasets) > 1:
        raise ExperimentError("arms", f"The arms' releases are of several data sets: {', '.join(sorted(datasets))}")
    for each in experiments:
        if each.runs and each.layer != declared.layer and n_free([each.buckets]) == 0:
            raise ExperimentError(
                "layer", f"{each.name!r} has every user, so that none is left for layer {declared.layer!r}"
            )
    buckets = _room(experiments, declared, declared.share)
    new = Experiment(**declared.model_dump(), dataset=datasets.pop(), buckets=buckets, started=now)
    running = [each for each in experiments if each.runs]
    over = [each for each in experiments if not each.runs]
    return (*over[max(len(over) + len(running) + 1 - KEPT, 0) :], *running, new)


def stopped(experiments: Experiments, name: str, now: int) -> Experiments:
    """With that one stopped. Raises ExperimentError."""
    return _replaced(experiments, _running(experiments, name).model_copy(update={"stopped": now}))


def reshared(experiments: Experiments, name: str, share: float) -> Experiments:
    """With that one over another share of its layer's users. Raises ExperimentError."""
    if not 0 < share <= 1:
        raise ExperimentError("share", f"share must be above 0 and at most 1, not {share:g}")
    changed = _running(experiments, name)
    buckets = _room(experiments, changed, share, changed.buckets)
    return _replaced(experiments, changed.model_copy(update={"share": share, "buckets": buckets}))


def _running(experiments: Experiments, name: str) -> Experiment:
    found = named(experiments, name)
    if not found.runs:
        raise ExperimentError("name", f"Experiment {name!r} is stopped")
    return found


def _room(experiments: Experiments, declared: Declaration, share: float, held: Ranges = ()) -> Ranges:
    running = [each for each in experiments if each.runs and each.layer == declared.layer]
    others = [each.buckets for each in running if each.name != declared.name]
    size = max(round(share * BUCKETS), 1)
    if (buckets := resized(held, others, size)) is None:
        raise ExperimentError(
            "share",
            f"{share:.2%} of layer {declared.layer!r} are asked for, and {n_free(others) / BUCKETS:.2%} are left",
            "Take a smaller share, another layer, or stop an experiment.",
        )
    return buckets


def _replaced(experiments: Experiments, changed: Experiment) -> Experiments:
    return tuple(changed if each.name == changed.name else each for each in experiments)
