"""What came of an experiment's answers: its log of exposures and the log of events, joined user by user.

A user counts from the first answer on, for the experiment's horizon: liked items that stood on a list answered by then.
Once that time is over, the user's values change no more, and not before are they part of the comparison: so each user
enters once, with one value, as the intervals require. Everybody who was dealt to an arm counts for it, whatever release
has answered: leaving out whom an arm could not answer would compare other users with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.dataset import Dataset, OwnId
from extras.events.events import Event
from extras.experiments.declaration import Experiment
from extras.experiments.exposures import Exposure
from extras.experiments.team_draft import FIRST, SECOND

BOTH: Final = ""  # the arm of a user whose lists are interleaved
HEARD_S: Final = 60  # after an experiment is stopped, until every worker that is asked at all has heard of it


@dataclass(frozen=True)
class Found:
    """A liked item on a list: its place, from 1, and the team it was drafted by ("" where there are none)."""

    place: int
    team: str


@dataclass(frozen=True)
class Outcomes:
    """Users in the order of their first answer; those that are still watched are only counted.

    Attributes:
        arms: (users,) names.
        values: metric -> (users,): "hit" whether anything was found, "hits" how many items, "gain" their discounted
            sum, as in NDCG; "preference" of an interleaved list, -1 all for the first arm to 1 all for the second.
        watched: users whose horizon is not over.
        in_several: users who are in several arms, which must not be; they are left out.
        exposures: how many answers there were; ``not_as_dealt``: in which the arm's release did not answer.
    """

    userids: Sequence[OwnId]
    arms: NDArray[np.str_]
    values: Mapping[str, NDArray[np.float64]]
    watched: Mapping[str, int] = field(default_factory=dict)
    in_several: int = 0
    exposures: int = 0
    not_as_dealt: int = 0


def joined(
    experiment: Experiment,
    exposures: Iterable[Exposure],
    events_of: Callable[[Sequence[OwnId]], Mapping[OwnId, Sequence[Event]]],
    dataset: Dataset,
    now: float,
) -> Outcomes:
    """``events_of``: what users did, events of one second as they came; ``now``: in seconds."""
    of_user: dict[OwnId, dict[str, Exposure]] = {}
    until = inf if experiment.stopped is None else (experiment.stopped + HEARD_S) * 1_000
    for each in exposures:  # one that was written twice counts once
        if each.answered <= until:
            of_user.setdefault(each.userid, {}).setdefault(each.recommendation, each)
    answers = {user: sorted(theirs.values(), key=_when) for user, theirs in of_user.items()}
    order = sorted(answers, key=lambda user: (answers[user][0].answered, str(user)))
    events = events_of(order)
    userids: list[OwnId] = []
    arms: list[str] = []
    found: list[list[Found]] = []
    watched: dict[str, int] = {}
    in_several = 0
    for user in order:
        theirs = answers[user]
        dealt = {BOTH} if experiment.kind == "interleaved" else {each.arm for each in theirs}
        end = theirs[0].timestamp + experiment.horizon_s
        if len(dealt) > 1:
            in_several += 1
        elif end > now:
            (arm,) = dealt
            watched[arm] = watched.get(arm, 0) + 1
        else:
            userids.append(user)
            arms.extend(dealt)
            found.append(credited(theirs, events.get(user, ()), dataset, end))
    every = [each for theirs in answers.values() for each in theirs]
    return Outcomes(
        userids,
        np.array(arms, np.str_),
        {name: np.array([value(each) for each in found], np.float64) for name, value in METRICS.items()},
        watched,
        in_several,
        len(every),
        sum(not each.as_dealt for each in every),
    )


def credited(answers: Sequence[Exposure], events: Iterable[Event], dataset: Dataset, end: int) -> list[Found]:
    """Each liked item that an answer had shown before, once, unless a later event takes that back or says otherwise.

    It counts for the answer that the event names, else for the last one before it that has the item.
    ``end``: the second after which nothing counts, taking back neither.
    """
    found: dict[OwnId, Found] = {}
    for event in sorted(events, key=lambda each: each.timestamp):
        if event.timestamp > end:
            break
        if unlikes(event, dataset):
            found.pop(event.itemid, None)
        if event.itemid in found or not likes(event, dataset):
            continue
        shown = [each for each in answers if each.timestamp <= event.timestamp and event.itemid in each.items]
        if shown:
            answer = next((each for each in shown if each.recommendation == event.recommendation), shown[-1])
            place = answer.items.index(event.itemid)
            found[event.itemid] = Found(place + 1, answer.teams[place] if answer.teams else "")
    return list(found.values())


def likes(event: Event, dataset: Dataset) -> bool:
    code = dataset.code(event.value) if dataset.event_types.get(event.type) == "rates" else None
    return code is not None and code > dataset.positive_level


def unlikes(event: Event, dataset: Dataset) -> bool:
    """Whether it takes back, or says otherwise than, an earlier event that `likes`."""
    effect = dataset.event_types.get(event.type)
    code = dataset.code(event.value) if effect == "rates" else None
    return effect == "retracts" or (code is not None and code <= dataset.positive_level)


def _when(exposure: Exposure) -> tuple[int, int]:
    return exposure.timestamp, exposure.answered


def _gain(found: Sequence[Found]) -> float:
    return float(sum(1 / np.log2(each.place + 1) for each in found))


def _preference(found: Sequence[Found]) -> float:
    first, second = (sum(each.team == team for each in found) for team in (FIRST, SECOND))
    return (second - first) / (first + second) if first + second else 0.0


METRICS: Final[Mapping[str, Callable[[Sequence[Found]], float]]] = {
    "hit": lambda found: float(bool(found)),
    "hits": lambda found: float(len(found)),
    "gain": _gain,
    "preference": _preference,
}
