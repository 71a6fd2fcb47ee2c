"""Sanity checks of a data set, before anything is trained on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import psutil

from data_exchange_center.as_of import happened
from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import Dataset
from data_exchange_center.recipes import Recipe
from data_exchange_center.steps import StepError

MOST_HELD_OUT: Final = 1 / 3  # of all events
MOST_WITHOUT_PAST: Final = 1 / 2  # of all users with events
FEWEST_WITH_PAST: Final = 2
REMEDY: Final = "give the data set a smaller holdout ([holdout] in dataset.toml)"
CONTAINER_LIMITS: Final = (  # of control groups of version 2 and of version 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
EVENT_BYTES: Final = 250  # of memory that a step holds at once, by `make bench-scale`: the largest slope over events


def expect_room(events: int, memory_gb: float) -> None:
    """Raise StepError where the steps, which hold a table in memory, need more than ``memory_gb`` (of 1e9 bytes)."""
    needed = events * EVENT_BYTES / 1e9
    if needed > memory_gb:
        raise StepError(
            f"the data set holds {events:,} events, for which pandas takes about {needed:,.1f} GB of memory "
            f"({EVENT_BYTES} bytes an event), and there are {memory_gb:,.1f} GB",
            "Compute with RECSYS_ENGINE=spark, which `make spark` installs; or, where there is more memory than that, "
            f"say how much with RECSYS_PANDAS__MEMORY_GB={math.ceil(needed)}.",
        )


def free_memory_gb() -> float:
    """GB (1e9 bytes) that can be had without swapping, and no more than a container may take as a whole."""
    limits = [path.read_text().strip() for path in CONTAINER_LIMITS if path.is_file()]
    allowed = [int(each) for each in limits if each.isdecimal()]  # "max": no limit
    return float(min([psutil.virtual_memory().available, *allowed]) / 1e9)


@dataclass(frozen=True)
class Counted:
    """Counts of labelled and split ratings; the past is all but the holdout.

    Attributes:
        events, liked, past, past_liked: events; those that are liked; those of the past, and liked ones of these.
        parts: events by value of `Split`.
        users: with events; ``single``: with one.
        with_past: users with an event of the past; ``longest_past``: the most that one has.
        known: users with an event that the request of evaluation sees, at the second of their first held-out one.
    """

    events: int
    liked: int
    past: int
    past_liked: int
    parts: Mapping[str, int]
    users: int
    single: int
    with_past: int
    longest_past: int
    known: int


def counted(ratings: pd.DataFrame) -> Counted:
    """``ratings``: as `artifacts.RATINGS`."""
    held_out = ratings[Columns.SPLIT] == Split.HOLDOUT
    liked, past = ratings[Columns.LABEL] == 1, ratings.loc[~held_out, Columns.USER].value_counts()
    sizes = ratings[Columns.USER].value_counts()
    return Counted(
        events=len(ratings),
        liked=int(liked.sum()),
        past=int((~held_out).sum()),
        past_liked=int((liked & ~held_out).sum()),
        parts={str(part): int(count) for part, count in ratings[Columns.SPLIT].value_counts().items()},
        users=len(sizes),
        single=int((sizes == 1).sum()),
        with_past=len(past),
        longest_past=int(past.max()) if len(past) else 0,
        known=_known(ratings, held_out),
    )


def expect_sense(found: Counted, dataset: Dataset, recipe: Recipe) -> None:
    """Raise StepError, with what to do, where training and evaluation on these rows would mean nothing."""
    held_out = (found.events - found.past) / found.events
    if held_out > MOST_HELD_OUT:
        raise StepError(f"{held_out:.0%} of all events would be held out for evaluation, more than a third: {REMEDY}.")
    cold = 1 - found.known / found.users
    if cold > MOST_WITHOUT_PAST:
        raise StepError(
            f"{cold:.0%} of {found.users:,} users have no event before the second of their first held-out one, more "
            f"than half: {REMEDY}, with at_least = 0 where most have a single event, or times of day where there are "
            "only dates."
        )
    if found.with_past < FEWEST_WITH_PAST:
        raise StepError(
            f"{found.with_past} of {found.users:,} users has an event that is not held out, and at least "
            f"{FEWEST_WITH_PAST} are needed to learn from: {REMEDY}."
        )
    if recipe.ranker.examples == "lists" and found.longest_past < 2:
        raise StepError(
            f"recipe {recipe.name!r} learns from what users did next, and none of {found.users:,} users has two events "
            f"that are not held out: {REMEDY}."
        )
    _expect_labels(found, dataset, recipe)
    if not dataset.terms and "terms" in recipe.needs:
        raise StepError(
            f"recipe {recipe.name!r} needs items with a categorical or multi-valued attribute, and this data set has "
            "none: declare one in [items] of dataset.toml, or choose RECSYS_RECIPE=default."
        )


def _known(ratings: pd.DataFrame, held_out: pd.Series) -> int:
    """Number of users with an event that the evaluation's request sees."""
    requested = ratings[held_out].groupby(Columns.USER)[Columns.TIMESTAMP].min()
    past = ratings[~held_out]
    times = past[Columns.USER].map(requested).fillna(np.inf).to_numpy()
    seen = happened(past[Columns.TIMESTAMP].to_numpy(), times)
    return int(past[Columns.USER][seen].nunique())


def _expect_labels(found: Counted, dataset: Dataset, recipe: Recipe) -> None:
    if not found.past_liked:
        raise StepError(
            f"none of {found.past:,} events before the held-out ones is liked: is positive_above in dataset.toml too "
            f"high for the values {dataset.levels[0]:g} to {dataset.levels[-1]:g}?"
        )
    if found.past_liked == found.past and "dislikes" in recipe.needs:
        raise StepError(
            f"recipe {recipe.name!r} learns to tell liked events from others, and all {found.past:,} of this data set "
            "are liked: declare the column of a value in [interactions] of dataset.toml, or choose "
            "RECSYS_RECIPE=default."
        )
