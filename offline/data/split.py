"""Labels and the split in time; and checks that reject data on which training would be meaningless."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import psutil
from numpy.typing import NDArray

from data_exchange_center import history, recipes
from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import Dataset, HoldoutRule
from data_exchange_center.steps import StepError
from offline.data.sequences import Bools, Ints

MOST_HELD_OUT: Final = 1 / 3  # of all events
MOST_WITHOUT_PAST: Final = 1 / 2  # of all users with events
FEWEST_WITH_PAST: Final = 2
REMEDY: Final = "give the data set a smaller holdout ([holdout] in dataset.toml)"
CONTAINER_LIMITS: Final = (  # of control groups of version 2 and of version 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
EVENT_BYTES: Final = 250  # peak memory of a step per event, the largest of all steps: past_one_machine/README.md


def holdout_sizes(
    rule: HoldoutRule, lengths: NDArray[np.integer], newest: NDArray[np.integer]
) -> Ints:
    """(users,) numbers of events -> (users,) how many of them are held out, at most all.

    ``newest``: (users,) number of events in each user's last second.
    """
    if rule.basket:
        wanted = np.where(newest < lengths, newest, 0)
    elif rule.last is not None:
        wanted = np.full(np.shape(lengths), rule.last)
    elif not rule.share:
        wanted = np.zeros(np.shape(lengths))
    else:
        part = np.floor(rule.share * lengths + 1e-9)  # 0.29 of 100 is 29, not 28
        wanted = np.clip(part, rule.at_least, rule.at_most)
    sizes: Ints = np.minimum(wanted, lengths).astype(np.int64)
    return sizes


def label_and_split(
    ratings: pd.DataFrame,
    dataset: Dataset,
    train_share: float,
    recorded: Bools | None = None,
) -> pd.DataFrame:
    """Ratings in file order -> sorted by user and time (ties in file order), with `label` and `split`.

    The last rows of every user are held out, as many as the data set's rule says; row k (from 0) of the m others is
    train where k < train_share * m, else test. A user with no more rows than that is held out as a whole.

    Args:
        recorded: (rows,) those that came from servers: never held out, and not counted by the rule; None: none.
    """
    feedback = np.zeros(len(ratings), np.bool_) if recorded is None else recorded
    frame = ratings.assign(**{Columns.SPLIT: np.where(feedback, Split.RECORDED, "")})
    frame = frame.sort_values(
        [Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True
    )
    own = (frame[Columns.SPLIT] != Split.RECORDED).to_numpy()
    rows = frame.loc[own]
    position, size = positions(rows[Columns.USER])
    times, last = (
        rows[Columns.TIMESTAMP].to_numpy(),
        np.arange(len(rows)) - position + size - 1,
    )
    # of the user's last second
    newest = np.bincount(last[times == times[last]], minlength=len(rows))[last]
    offline = size - holdout_sizes(dataset.holdout_now, size, newest)
    part = np.where(position < train_share * offline, Split.TRAIN, Split.TEST)
    frame.loc[own, Columns.SPLIT] = np.where(position >= offline, Split.HOLDOUT, part)
    frame.insert(
        len(frame.columns) - 1,
        Columns.LABEL,
        (frame[Columns.RATING] > dataset.positive_level).astype(np.int8),
    )
    return frame


def validation_mask(users: pd.Series, share: float) -> Bools:
    """True for the last ``share`` (rounded down) of every user's rows. ``users``: numbers of the training rows' users,
    sorted as `label_and_split` leaves them."""
    position, size = positions(users)
    held_out: Bools = position >= size - np.floor(size * share)
    return held_out


def positions(users: pd.Series) -> tuple[Ints, Ints]:
    """Position of every row among its user's rows, from 0, and their number."""
    rows = users.groupby(users)
    position = np.asarray(rows.cumcount(), np.int64)
    size = np.asarray(rows.transform("size"), np.int64)
    return position, size


# --- Checks of the data


def require_memory(events: int, memory_gb: float | None) -> None:
    """Raise StepError where the steps, which hold a table in memory, need more than ``memory_gb`` (of 1e9 bytes).

    None: what is available without swapping, and within the container's limit.
    """
    limits = [path.read_text().strip() for path in CONTAINER_LIMITS if path.is_file()]
    allowed = [int(each) for each in limits if each.isdecimal()]  # "max": no limit
    available = memory_gb or min([psutil.virtual_memory().available, *allowed]) / 1e9
    needed = events * EVENT_BYTES / 1e9
    if needed > available:
        raise StepError(
            f"{events:,} events need about {needed:,.1f} GB of memory with pandas ({EVENT_BYTES} bytes an event), and "
            f"{available:,.1f} GB are free",
            f"Free some, or set RECSYS_PANDAS__MEMORY_GB={math.ceil(needed)} if more can be used; or compute with "
            "RECSYS_ENGINE=spark (`make spark` installs it).",
        )


@dataclass(frozen=True)
class Counted:
    """Counts of labelled and split ratings; the past is all but the holdout."""

    events: int
    liked: int
    past: int  # events of the past
    past_liked: int
    parts: Mapping[str, int]  # events by value of `Split`
    users: int  # with events
    single: int  # users with one event
    with_past: int  # users with an event of the past
    longest_past: int  # the most past events of a user
    known: int  # users with an event that the request of evaluation sees, at the second of their first held-out one


def counted(ratings: pd.DataFrame) -> Counted:
    """Count ``ratings``, as in `artifacts.RATINGS`."""
    held_out, liked = (
        ratings[Columns.SPLIT] == Split.HOLDOUT,
        ratings[Columns.LABEL] == 1,
    )
    sizes, of_past = ratings[Columns.USER].value_counts(), ratings[~held_out]
    past = of_past[Columns.USER].value_counts()
    requested = ratings[held_out].groupby(Columns.USER)[Columns.TIMESTAMP].min()
    sent = of_past[Columns.USER].map(requested).fillna(np.inf).to_numpy()
    seen = history.visible_at(of_past[Columns.TIMESTAMP].to_numpy(), sent)
    return Counted(
        events=len(ratings),
        liked=int(liked.sum()),
        past=int((~held_out).sum()),
        past_liked=int((liked & ~held_out).sum()),
        parts={
            str(part): int(count)
            for part, count in ratings[Columns.SPLIT].value_counts().items()
        },
        users=len(sizes),
        single=int((sizes == 1).sum()),
        with_past=len(past),
        longest_past=int(past.max()) if len(past) else 0,
        known=int(of_past[Columns.USER][seen].nunique()),
    )


def validate_data(found: Counted, dataset: Dataset, recipe: recipes.Recipe) -> None:
    """Raise StepError, with what to do, where training and evaluation on these rows would mean nothing."""
    held_out = (found.events - found.past) / found.events
    if held_out > MOST_HELD_OUT:
        raise StepError(
            f"{held_out:.0%} of all events would be held out for evaluation, over a third: {REMEDY}."
        )
    cold = 1 - found.known / found.users
    if cold > MOST_WITHOUT_PAST:
        raise StepError(
            f"{cold:.0%} of {found.users:,} users have no event before their first held-out one; the limit is half: "
            f"{REMEDY}; set at_least = 0 in it if most users have a single event, or add times of day if the times are "
            "dates."
        )
    if found.with_past < FEWEST_WITH_PAST:
        raise StepError(
            f"users with an event that is not held out: {found.with_past} of {found.users:,}; training needs at least "
            f"{FEWEST_WITH_PAST}: {REMEDY}."
        )
    if recipe.ranker.examples == "lists" and found.longest_past < 2:
        raise StepError(
            f"recipe {recipe.name!r} learns from successive events, and none of {found.users:,} users has two that are "
            f"not held out: {REMEDY}."
        )
    if not found.past_liked and dataset.types:
        raise StepError(
            f"none of {found.past:,} events before the held-out ones is of a type with target = true in [types] of "
            "dataset.toml: say which type is to be recommended for."
        )
    if not found.past_liked:
        raise StepError(
            f"none of {found.past:,} events before the held-out ones is liked; values go from {dataset.levels[0]:g} to "
            f"{dataset.levels[-1]:g}: lower positive_above in dataset.toml."
        )
    if found.past_liked == found.past and "dislikes" in recipe.needs:
        raise StepError(
            f"recipe {recipe.name!r} needs events that are not liked, and all {found.past:,} of this data set are "
            "liked: declare the column of a value in [interactions] of dataset.toml, or set RECSYS_RECIPE=default."
        )
    if not dataset.terms and "terms" in recipe.needs:
        raise StepError(
            f"recipe {recipe.name!r} needs items with a categorical or multi-valued attribute, and this data set has "
            "none: declare one in [items] of dataset.toml, or set RECSYS_RECIPE=default."
        )
