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
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from math import isfinite, nan
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

PLANNED: Final = 1_000  # users where intervals are narrowest
SUSPICIOUS: Final = 0.01  # p-value of the arms' sizes


def report(settings: Settings, name: str, console: Console) -> None:
    """Report an experiment. Raises TrialError, ServiceError, StepError."""
    with (
        closing(TrialStore(settings.redis, TIMEOUT_S)) as store,
        closing(RedisUsers(settings.redis)) as users,
    ):
        experiment = store.call(None).named(name)
        outcomes = outcomes_of(
            store.exposures(name),
            partial(store.events_of, experiment.dataset),
            dataset_of(experiment, users),
            experiment.horizon_s,
            time.time(),
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


def show(experiment: Experiment, outcomes: Outcomes, console: Console) -> None:
    """Print a table of the arms, and whether their sizes say not to trust it."""
    _, *others = experiment.arms
    users, rows = [], []
    for arm in experiment.arms:
        likes = outcomes.likes[outcomes.arms == arm]
        users.append(len(likes) + outcomes.watched.get(arm, 0))
        row = {
            "arm": arm,
            "users": len(likes),
            "likes a user": likes.mean() if len(likes) else nan,
            "against the control": "",
        }
        if arm in others:
            found = against_control(experiment, outcomes, arm)
            row["against the control"] = in_words(found)
        rows.append(row)
    weights = np.array([arm.weight for arm in experiment.arms.values()], np.float64)
    p_value = sample_ratio_p_value(np.array(users), weights)
    if p_value < SUSPICIOUS:
        console.print(
            f"[bold red]WARNING: the arms have {users} users, which does not fit their weights (p = {p_value:.2g}): "
            "users of an arm are being lost, so do not trust the differences.[/]"
        )
    watched = sum(outcomes.watched.values())
    title = f"{experiment.name}; {watched:,} more users are still watched"
    console.print(table(title, rows))


def against_control(experiment: Experiment, outcomes: Outcomes, arm: str) -> Interval:
    """Difference of an arm's likes a user to the control's. All arms share the error (Bonferroni)."""
    control, *others = experiment.arms
    both = (outcomes.arms == control) | (outcomes.arms == arm)
    treated = outcomes.arms[both] == arm
    return difference(outcomes.likes[both], treated, PLANNED, ALPHA / len(others))


def in_words(found: Interval) -> str:
    """A difference; it is found where the interval excludes zero."""
    if not isfinite(found.low):
        return f"too few users yet: {FIRST} of each arm are needed"
    return f"{found.estimate:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


def table(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """A table of rows with the same fields, whose cells fold where they are too long."""
    columns = (Column(name, overflow="fold") for row in rows[:1] for name in row)
    found = Table(*columns, title=title)
    for row in rows:
        found.add_row(*map(_cell, row.values()))
    return found


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
