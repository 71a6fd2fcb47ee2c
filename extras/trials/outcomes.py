"""Join exposures with events: which of the items that a user was shown the user has liked afterwards.

A trial watches a user from the first answer on, for its horizon, and sums by user and arm. Quality over time watches a
list for a window, and sums by release and day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.events import Event, opinion
from extras.trials.exposures import Exposure
from extras.trials.quality import DayRate

# After a trial is stopped, until every worker with requests knows
HEARD_S: Final = 60

EventsOf = Callable[[Sequence[OwnId]], Mapping[OwnId, Sequence[Event]]]
# Places, from 1, of the liked items on their lists -> what a user has of them: whether there is any, how many, and
# their discounted sum, as in NDCG
METRICS: Final[Mapping[str, Callable[[Sequence[int]], float]]] = {
    "hit": lambda places: float(bool(places)),
    "hits": lambda places: float(len(places)),
    "gain": lambda places: float(sum(1 / np.log2(place + 1) for place in places)),
}


def liked_places(
    answers: Sequence[Exposure], events: Iterable[Event], dataset: Dataset, end: float
) -> list[int]:
    """Place, from 1, of each liked item that one of a user's answers had shown before the like.

    It counts once, for the answer that the event names, else for the last one before it that has the item; and not at
    all if a later event retracts it or rates it low. ``end``: the last second that counts, for retractions too.
    """
    found: dict[OwnId, int] = {}
    for event in sorted(events, key=attrgetter("timestamp")):
        if event.timestamp > end:
            break
        liked = opinion(event, dataset)
        if liked is False:
            found.pop(event.itemid, None)
        if not liked or event.itemid in found:
            continue
        shown = [
            each
            for each in answers
            if each.timestamp <= event.timestamp and event.itemid in each.items
        ]
        if shown:
            named = [e for e in shown if e.recommendation == event.recommendation]
            answer = (named or shown[-1:])[0]
            found[event.itemid] = answer.items.index(event.itemid) + 1
    return list(found.values())


# --- by user and arm


@dataclass(frozen=True)
class Outcomes:
    """Users in the order of their first answer; those that are still watched are only counted.

    Attributes:
        arms: (users,) names.
        values: metric -> (users,), as of `METRICS`.
        watched: arm -> users whose horizon is not over.
        in_several: users who are in several arms, which should not happen; they are left out.
        exposures: how many answers there were; ``not_as_dealt``: in which the arm's release did not answer.
    """

    userids: Sequence[OwnId]
    arms: NDArray[np.str_]
    values: Mapping[str, NDArray[np.float64]]
    watched: Mapping[str, int] = field(default_factory=dict)
    in_several: int = 0
    exposures: int = 0
    not_as_dealt: int = 0


def outcomes_of(
    exposures: Iterable[Exposure],
    events_of: EventsOf,
    dataset: Dataset,
    horizon_s: float,
    now: float,
    stopped: float = inf,
) -> Outcomes:
    """Join a trial's exposures with events.

    Args:
        events_of: users -> events; those of one second in order of arrival.
        stopped: when the trial was; like ``now`` in seconds.
    """
    of_user: dict[OwnId, dict[str, Exposure]] = {}
    for each in exposures:  # one that was written twice counts once
        if each.answered <= (stopped + HEARD_S) * 1_000:
            of_user.setdefault(each.userid, {}).setdefault(each.recommendation, each)
    when = attrgetter("timestamp", "answered")
    answers = {
        user: sorted(theirs.values(), key=when) for user, theirs in of_user.items()
    }
    order = sorted(answers, key=lambda user: (answers[user][0].answered, str(user)))
    events = events_of(order)
    userids: list[OwnId] = []
    arms: list[str] = []
    places: list[list[int]] = []
    watched: Counter[str] = Counter()
    in_several = 0
    for user in order:
        theirs = answers[user]
        first, end = theirs[0], theirs[0].timestamp + horizon_s
        if any(each.arm != first.arm for each in theirs):
            in_several += 1
        elif end > now:
            watched[first.arm] += 1
        else:
            userids.append(user)
            arms.append(first.arm)
            places.append(liked_places(theirs, events.get(user, ()), dataset, end))
    as_dealt = [each.as_dealt for theirs in answers.values() for each in theirs]
    values = {
        name: np.array([value(each) for each in places], np.float64)
        for name, value in METRICS.items()
    }
    return Outcomes(
        userids,
        np.array(arms, np.str_),
        values,
        watched,
        in_several,
        len(as_dealt),
        as_dealt.count(False),
    )


# --- by release and day


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
    lists, hits = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    once = {each.recommendation: each for each in exposures}  # if written twice
    for each in once.values():
        end = each.timestamp + window_s
        if end > now:
            continue
        day = f"{datetime.fromtimestamp(each.answered / 1e3, UTC):%Y-%m-%d}"
        theirs = events.get(each.userid, ())
        lists[day, each.release] += 1
        hits[day, each.release] += bool(liked_places([each], theirs, dataset, end))
    return [
        DayRate(release=release, day=day, lists=count, hits=hits[day, release])
        for (day, release), count in sorted(lists.items())
    ]
