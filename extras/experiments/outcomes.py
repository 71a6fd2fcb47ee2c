"""Join exposures with events: what the users of each arm have liked of the items that they were shown.

A user is measured from the first answer on, for the experiment's horizon, by liked items that were on an answered list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.events import Event
from extras.experiments.declaration import Experiment
from extras.experiments.store import FIRST, SECOND, ExperimentStore, Exposure

BOTH: Final = ""  # the arm of a user whose lists are interleaved
HEARD_S: Final = (
    60  # after an experiment is stopped, until every worker with requests knows
)


class Found(NamedTuple):
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
    store: ExperimentStore,
    experiment: Experiment,
    dataset: Dataset,
    now: float,
    since_ms: int = 0,
) -> Outcomes:
    """Join the logs in Redis. ``now``: in seconds; ``since_ms``: of the exposures. Raises ServiceError."""
    events_of = partial(store.events_of, experiment.dataset)
    return joined(
        experiment, store.exposures(experiment.name, since_ms), events_of, dataset, now
    )


def joined(
    experiment: Experiment,
    exposures: Iterable[Exposure],
    events_of: Callable[[Sequence[OwnId]], Mapping[OwnId, Sequence[Event]]],
    dataset: Dataset,
    now: float,
) -> Outcomes:
    """Join exposures with events. ``events_of``: events of one second in order of arrival; ``now``: in seconds."""
    of_user: dict[OwnId, dict[str, Exposure]] = {}
    until = (
        inf if experiment.stopped is None else (experiment.stopped + HEARD_S) * 1_000
    )
    for each in exposures:  # one that was written twice counts once
        if each.answered <= until:
            of_user.setdefault(each.userid, {}).setdefault(each.recommendation, each)
    when = attrgetter("timestamp", "answered")
    answers = {
        user: sorted(theirs.values(), key=when) for user, theirs in of_user.items()
    }
    order = sorted(answers, key=lambda user: (answers[user][0].answered, str(user)))
    events = events_of(order)
    userids: list[OwnId] = []
    arms: list[str] = []
    found: list[list[Found]] = []
    watched: Counter[str] = Counter()
    in_several = 0
    for user in order:
        theirs = answers[user]
        arm, *more = (
            {BOTH}
            if experiment.kind == "interleaved"
            else {each.arm for each in theirs}
        )
        end = theirs[0].timestamp + experiment.horizon_s
        if more:
            in_several += 1
        elif end > now:
            watched[arm] += 1
        else:
            userids.append(user)
            arms.append(arm)
            found.append(credited(theirs, events.get(user, ()), dataset, end))
    as_dealt = [each.as_dealt for theirs in answers.values() for each in theirs]
    values = {
        name: np.array([value(each) for each in found], np.float64)
        for name, value in METRICS.items()
    }
    arms_of_users = np.array(arms, np.str_)
    return Outcomes(
        userids,
        arms_of_users,
        values,
        watched,
        in_several,
        len(as_dealt),
        as_dealt.count(False),
    )


def credited(
    answers: Sequence[Exposure], events: Iterable[Event], dataset: Dataset, end: int
) -> list[Found]:
    """Each liked item that an answer had shown before, once, unless a later event retracts it or rates it low.

    It counts for the answer that the event names, else for the last one before it that has the item. ``end``: the last
    second that counts, for retractions too.
    """
    found: dict[OwnId, Found] = {}
    for event in sorted(events, key=lambda each: each.timestamp):
        if event.timestamp > end:
            break
        effect = dataset.event_types.get(event.type)
        code = dataset.code(event.value) if effect == "rates" else None
        if effect == "retracts" or (
            code is not None and code <= dataset.positive_level
        ):
            found.pop(event.itemid, None)
        elif code is not None and event.itemid not in found:
            shown = [
                each
                for each in answers
                if each.timestamp <= event.timestamp and event.itemid in each.items
            ]
            if shown:
                answer = next(
                    (
                        each
                        for each in shown
                        if each.recommendation == event.recommendation
                    ),
                    shown[-1],
                )
                place = answer.items.index(event.itemid)
                found[event.itemid] = Found(
                    place + 1, answer.teams[place] if answer.teams else ""
                )
    return list(found.values())


def _preference(found: Sequence[Found]) -> float:
    first, second = (
        sum(each.team == team for each in found) for team in (FIRST, SECOND)
    )
    return (second - first) / (first + second) if first + second else 0.0


METRICS: Final[Mapping[str, Callable[[Sequence[Found]], float]]] = {
    "hit": lambda found: float(bool(found)),
    "hits": lambda found: float(len(found)),
    "gain": lambda found: float(sum(1 / np.log2(each.place + 1) for each in found)),
    "preference": _preference,
}
