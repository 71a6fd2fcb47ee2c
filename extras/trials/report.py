"""Report what an experiment has found so far: each arm against the control, with an interval that holds at any time.

It may be run as often as one likes, and the experiment stopped as soon as the interval excludes zero: over all those
looks, a difference that is not there is found in at most 5 % of the experiments.

A user is measured from the first answer on, for the experiment's horizon, by liked items that were on an answered list.
Only after that does the user enter the comparison, once and with one value that no longer changes, as the intervals
require. Everybody assigned to an arm counts for it, whatever release answered (intention to treat): leaving out those
that an arm could not answer would compare different populations.

Reads   the experiment, its log of exposures and users' events in Redis; the release's declaration of its data set
Run     make experiment name=ranker
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from math import inf, isfinite, nan
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from data_exchange_center.dataset import Dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.published import readable
from extras.trials.always_valid import (
    ALPHA,
    FIRST,
    Interval,
    difference,
    sample_ratio_p_value,
)
from extras.trials.outcomes import Outcomes, outcomes_of
from extras.trials.state import Experiment
from extras.trials.store import TrialStore
from offline_to_online.stores.base import TIMEOUT_S
from online.clients.redis import RedisUsers

SUSPICIOUS: Final = 0.01  # p-value of the arms' sizes
OFTEN: Final = 0.01  # share of the answers that are not of the arm's release


def report(settings: Settings, name: str, console: Console) -> None:
    """Report an experiment. Raises TrialError, ServiceError, StepError."""
    with (
        closing(TrialStore(settings.redis, TIMEOUT_S)) as store,
        closing(RedisUsers(settings.redis)) as users,
    ):
        experiment = store.call(None).named(name)
        outcomes = outcomes_of(
            store.exposures(name),
            lambda users: store.events_of(experiment.dataset, users),
            dataset_of(experiment, users),
            experiment.horizon_s,
            time.time(),
            inf if experiment.stopped is None else experiment.stopped,
        )
        if store.is_cut(experiment.started):
            console.print(
                "[bold red]WARNING: the log of exposures is full and has lost the oldest; users may be missing.[/]"
            )
    show(experiment, outcomes, console)


def dataset_of(experiment: Experiment, users: RedisUsers) -> Dataset:
    """The data set, by a published release of it. Raises ServiceError, StepError."""
    for published in readable(users, users.listed()[1]):
        if published.manifest.dataset.base_name == experiment.dataset:
            return published.manifest.dataset
    raise StepError(
        f"No release of data set {experiment.dataset} is published that says what the events mean.",
        "Load one with `make sync`.",
    )


def warnings(experiment: Experiment, outcomes: Outcomes) -> list[str]:
    """Reasons not to trust the differences."""
    found = []
    arms = experiment.arms
    other = sum(
        count
        for (arm, release), count in outcomes.releases.items()
        if release != experiment.release_of(arm)
    )
    if other > OFTEN * (answers := sum(outcomes.releases.values())):
        found.append(
            f"{other:,} of {answers:,} answers are not what the experiment requested: an "
            "arm's release could not answer. They still count for the arm, so the difference looks smaller than it is"
        )
    users = [
        int((outcomes.arms == arm).sum()) + outcomes.watched.get(arm, 0) for arm in arms
    ]
    weights = np.array([arm.weight for arm in arms.values()], np.float64)
    p_value = sample_ratio_p_value(np.array(users), weights)
    if p_value < SUSPICIOUS:
        found.append(
            f"the arms have {users} users, which does not fit their weights "
            f"(p = {p_value:.2g}): users of an arm are being lost, so do not trust the differences below"
        )
    return found


def against_control(experiment: Experiment, outcomes: Outcomes, arm: str) -> Interval:
    """Difference of an arm's likes a user to the control's. All arms share the error (Bonferroni)."""
    control, *others = experiment.arms
    both = (outcomes.arms == control) | (outcomes.arms == arm)
    return difference(
        outcomes.likes[both],
        outcomes.arms[both] == arm,
        experiment.planned_users,
        ALPHA / len(others),
    )


def show(experiment: Experiment, outcomes: Outcomes, console: Console) -> None:
    """Print warnings, and a table of the arms."""
    for warning in warnings(experiment, outcomes):
        console.print(f"[bold red]WARNING: {warning}.[/]")
    watched = sum(outcomes.watched.values())
    console.print(
        f"{experiment.name}: {sum(outcomes.releases.values()):,} answers, {len(outcomes.arms):,} users, "
        f"and {watched:,} who are still watched ({experiment.horizon_s:,} s since the first answer)"
    )
    control = next(iter(experiment.arms))
    rows = []
    for arm in experiment.arms:
        likes = outcomes.likes[outcomes.arms == arm]
        mean = likes.mean() if len(likes) else nan
        found = ""
        if arm != control:
            found = in_words(against_control(experiment, outcomes, arm))
        rows.append((arm, f"{len(likes):,}", f"{mean:.4f}", found))
    columns = ("arm", "users", "likes a user", f"against {control}, 95 % at any time")
    console.print(table(experiment.name, columns, rows))


def in_words(found: Interval) -> str:
    """A difference, and the conclusion so far."""
    if not isfinite(found.low):
        return f"too few users yet: {FIRST} of each arm are needed"
    conclusion = "no difference is found so far"
    if found.low > 0:
        conclusion = "better"
    elif found.high < 0:
        conclusion = "worse"
    return (
        f"{found.estimate:+.4f} ({found.low:+.4f} to {found.high:+.4f}): {conclusion}"
    )


def table(
    title: str, columns: Sequence[str], rows: Iterable[Iterable[object]]
) -> Table:
    """A table whose cells fold where they are too long."""
    found = Table(*(Column(name, overflow="fold") for name in columns), title=title)
    for row in rows:
        found.add_row(*map(str, row))
    return found
