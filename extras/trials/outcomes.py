"""Join exposures with events: which of the items that a user was shown the user has liked afterwards.

A trial watches a user from the first answer on, for its horizon, and sums by user and arm. Quality over time watches a
list for a window, and sums by release and day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.event_types import heaviest
from data_exchange_center.events import Event, opinion
from extras.trials.exposures import Exposure
from extras.trials.quality import DayRate

EventsOf = Callable[[Sequence[OwnId]], Mapping[OwnId, Sequence[Event]]]


def likes_of(
    answers: Sequence[Exposure], events: Iterable[Event], dataset: Dataset, end: float
) -> int:
    """How many items a user likes that one of the user's answers had shown before the like.

    Where events have types, only those of the target with the largest weight count, such as purchases. A later event
    that retracts an item or rates it low takes the like back. ``end``: the last second that counts.
    """
    counted = heaviest(dataset.types)
    liked: set[OwnId] = set()
    for event in sorted(events, key=lambda each: each.timestamp):
        if event.timestamp > end:
            break
        likes = opinion(event, dataset)
        if likes is False:
            liked.discard(event.itemid)
        elif (
            likes
            and counted in (None, event.type)
            and any(
                each.timestamp <= event.timestamp and event.itemid in each.items
                for each in answers
            )
        ):
            liked.add(event.itemid)
    return len(liked)


@dataclass(frozen=True)
class Outcomes:
    """Users in the order of their first answer; those that are still watched are only counted.

    Attributes:
        arms: (users,) names.
        likes: (users,) how many of the shown items the user likes.
        watched: arm -> users whose horizon is not over.
    """

    arms: NDArray[np.str_]
    likes: NDArray[np.float64]
    watched: Mapping[str, int] = field(default_factory=dict)


def outcomes_of(
    exposures: Iterable[Exposure],
    events_of: EventsOf,
    dataset: Dataset,
    horizon_s: float,
    now: float,
) -> Outcomes:
    """Join a trial's exposures, each once, with events, by user and arm.

    Args:
        events_of: users -> events; those of one second in order of arrival.
    """
    answers: dict[OwnId, list[Exposure]] = {}
    for each in sorted(exposures, key=lambda each: (each.answered, str(each.userid))):
        answers.setdefault(each.userid, []).append(each)
    events = events_of(list(answers))
    arms: list[str] = []
    likes: list[int] = []
    watched: Counter[str] = Counter()
    for user, theirs in answers.items():
        arm, end = theirs[0].arm, theirs[0].timestamp + horizon_s
        if end > now:
            watched[arm] += 1
        else:
            arms.append(arm)
            likes.append(likes_of(theirs, events.get(user, ()), dataset, end))
    return Outcomes(np.array(arms, np.str_), np.array(likes, np.float64), watched)


def hit_rates(
    exposures: Iterable[Exposure],
    events: Mapping[OwnId, Sequence[Event]],
    dataset: Dataset,
    window_s: int,
    now: float,
) -> list[DayRate]:
    """Hit rates by release and day: a list is a hit if, when its window ends, the user likes one of its items.

    Lists whose window is not over do not count.
    """
    lists: Counter[tuple[str, str]] = Counter()
    hits: Counter[tuple[str, str]] = Counter()
    for each in exposures:
        end = each.timestamp + window_s
        if end > now:
            continue
        day = f"{datetime.fromtimestamp(each.answered / 1e3, UTC):%Y-%m-%d}"
        theirs = events.get(each.userid, ())
        lists[day, each.release] += 1
        hits[day, each.release] += bool(likes_of([each], theirs, dataset, end))
    return [
        DayRate(release=release, day=day, lists=count, hits=hits[day, release])
        for (day, release), count in sorted(lists.items())
    ]
