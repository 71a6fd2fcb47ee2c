"""What is said of all events together before items are counted, of counts that add up over users.

A quantile of all times is found in two steps, so that nobody need hold the times: first it is counted how many events
each era has, then how many each second has, of the few eras in which the quantile lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_exchange_center.columns import Columns, Split
from offline.data.sequences import Sequences
from offline.data.whole_users import USERS

RECENT: Final = 0.8  # quantile of all times after which an event is recent
ERA: Final = "era"
ERA_S: Final = 1 << 16  # some eighteen hours
READ: Final = (Columns.USER, Columns.RATING, Columns.TIMESTAMP, Columns.SPLIT)  # of `artifacts.RATINGS`
ERA_KEYS: Final = {ERA: pa.int64(), Columns.RATING: pa.int8()}
SECOND_KEYS: Final = {Columns.TIMESTAMP: pa.int64()}


@dataclass(frozen=True)
class Overall:
    """What is known of all events of a past.

    Attributes:
        recent_after: seconds; later events are recent.
        mean_rating: of all events.
    """

    recent_after: float
    mean_rating: float

    @classmethod
    def of(cls, past: Sequences) -> Overall:
        return cls(float(np.quantile(past.times, RECENT)), float(past.ratings.mean()))


def by_era(ratings: pd.DataFrame) -> pd.DataFrame:
    """`artifacts.RATINGS` of some users -> how many events that are not held out have an era and a rating."""
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    return _counted(past.assign(**{ERA: past[Columns.TIMESTAMP] // ERA_S}), list(ERA_KEYS))


def by_second(ratings: pd.DataFrame, eras: Sequence[int]) -> pd.DataFrame:
    """How many have a second, of those in some eras."""
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    return _counted(past[(past[Columns.TIMESTAMP] // ERA_S).isin(eras)], list(SECOND_KEYS))


def _counted(events: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return events.groupby(keys).size().rename(USERS).reset_index()


def eras_of_recent(eras: pd.DataFrame) -> list[int]:
    """Sums of `by_era` -> the eras of the two events between which the quantile lies."""
    counts = eras.groupby(ERA)[USERS].sum()
    return counts.index[_events(counts, _place(counts))].tolist()


def overall(eras: pd.DataFrame, seconds: pd.DataFrame) -> Overall:
    """Sums of `by_era`, and of `by_second` in `eras_of_recent` -> as `Overall.of` all events."""
    counts = eras.groupby(ERA)[USERS].sum()
    before = int(counts.loc[: seconds[Columns.TIMESTAMP].min() // ERA_S - 1].sum())
    place = _place(counts)
    of_seconds = seconds.set_index(Columns.TIMESTAMP)[USERS].sort_index()
    between = of_seconds.index[_events(of_seconds, place - before)].to_numpy()
    rated = eras[Columns.RATING].to_numpy(np.int64) @ eras[USERS].to_numpy(np.int64)
    return Overall(float(np.quantile(between, place % 1)), float(rated / counts.sum()))


def _place(counts: pd.Series) -> float:
    """Of the quantile among all events, from 0; between two where it is no whole number."""
    return float((counts.sum() - 1) * RECENT)


def _events(counts: pd.Series, place: float) -> NDArray[np.int64]:
    """Positions in ``counts`` (ascending) of the events before and after a place."""
    found: NDArray[np.int64] = np.searchsorted(
        counts.to_numpy().cumsum(), [math.floor(place), math.ceil(place)], side="right"
    )
    return found
