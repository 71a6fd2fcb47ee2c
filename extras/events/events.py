"""Feedback of users while the server runs: how an event is stored, and how it updates its user's state.

A release holds a user's state as its data set had it. Later events are kept per user, outside of releases, and
`updated` merges the two whenever the state is read. It may get events that the release was trained on: an event is
identified by item, time and rating, and counts once. So nothing has to be carried from one release to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.history import History, state_as_of


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it was sent.

    Attributes:
        eventid: chosen by the sender: two events of one user with the same id are the same event.
        type: one of `Dataset.event_types`.
        value: the rating, for an event that rates, if the data set has values.
        timestamp: when it happened, in seconds since 1970-01-01 UTC.
        recommendation: the answer in which the item was shown, if it was.
    """

    eventid: str
    userid: OwnId
    itemid: OwnId
    type: str
    timestamp: int
    value: float | None = None
    recommendation: str | None = None

    def pack(self) -> str:
        """Serialize as JSON, without fields that are None."""
        known = {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}
        return json.dumps(known, separators=(",", ":"))

    @classmethod
    def unpack(cls, raw: str | bytes) -> Self:
        """Inverse of `pack`. Raises ValueError, TypeError."""
        return cls(**json.loads(raw))


class Logged(NamedTuple):
    """An event and its place in the log: of two events of one second, the later place is the later event."""

    time: int  # of the event
    position: tuple[int, int]  # of its entry in the stream: milliseconds when it was acknowledged, and a count
    event: Event

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """A field of `wire.user_events_key`. Raises ValueError, TypeError."""
        entry, _, packed = raw.partition(b" ")
        event = Event.unpack(packed)
        return cls(event.timestamp, position_of(entry), event)


def position_of(entry: bytes) -> tuple[int, int]:
    """Parse the id of a stream's entry, ``1764115200000-0``. Raises ValueError."""
    milliseconds, _, count = entry.partition(b"-")
    return int(milliseconds), int(count)


def likes(event: Event, dataset: Dataset) -> bool:
    """Whether an event is positive feedback: a rating above the data set's threshold."""
    code = dataset.code(event.value) if dataset.event_types.get(event.type) == "rates" else None
    return code is not None and code > dataset.positive_level


def updated(
    history: History,
    seen: NDArray[np.int32],
    events: Iterable[Logged],
    items: Mapping[OwnId, int],
    dataset: Dataset,
    before: int | None = None,
) -> tuple[History, NDArray[np.int32]]:
    """A user's history and seen items after ``events``, which may come in any order.

    Where events have values, a rating replaces the earlier ones of the same item; where they have none, each is one
    more. An event whose item (``items``: own id -> number), type or value is unknown is skipped until a release knows
    it.

    Args:
        before: count only events before this second; None: all.
    """
    history, seen = state_as_of(history, seen, before)
    ordered = sorted((each for each in events if before is None or each.time < before), key=lambda each: each[:2])
    last: dict[int, int] = {}  # item -> time up to which its events in the history are replaced
    rated: dict[int, list[tuple[int, int]]] = {}  # item -> its new (time, rating)
    hidden: dict[int, bool] = {}  # item -> whether the last event that hides or retracts has hidden it
    for time, _, event in ordered:
        effect, item = dataset.event_types.get(event.type), items.get(event.itemid)
        if item is None or effect is None:
            continue
        if effect == "rates":
            if (code := dataset.code(event.value)) is None:
                continue
            if dataset.has_values:
                last[item], rated[item] = time, []
            if (time, code) not in rated.setdefault(item, []):
                rated[item].append((time, code))
        elif effect == "hides":
            hidden[item] = True
        elif effect == "retracts":
            last[item], rated[item], hidden[item] = time, [], False
    if not rated and not hidden:
        return history, seen

    # drop from the history what a later event replaces or retracts; an item without any event left is unseen again
    kept = ~np.isin(history.item_numbers, list(last))
    for place in np.flatnonzero(~kept).tolist():
        kept[place] = history.times[place] > last[int(history.item_numbers[place])]
    remaining = set(history.item_numbers[kept].tolist())
    gone = [item for item in rated if not rated[item] and item not in remaining and not hidden.get(item)]
    more = [item for item in rated if rated[item] and not dataset.allows_repeats]
    more += [item for item, is_hidden in hidden.items() if is_hidden]
    seen = np.union1d(seen[~np.isin(seen, gone)], more).astype(np.int32)
    return _joined(history, kept, rated, dataset.has_values) if rated else history, seen


def _joined(
    old: History, kept: NDArray[np.bool_], rated: Mapping[int, list[tuple[int, int]]], replaces: bool
) -> History:
    """Merge the ``kept`` (n,) events of a history with the new (time, rating) of each item, newest first."""
    there: dict[int, dict[int, set[int]]] = {item: {} for item in rated}  # item -> time -> ratings
    for place in np.flatnonzero(kept & np.isin(old.item_numbers, list(rated))).tolist():
        of_item = there[int(old.item_numbers[place])]
        of_item.setdefault(int(old.times[place]), set()).add(int(old.ratings[place]))
    new = [
        (item, code, time)
        for item, pairs in rated.items()
        for time, code in pairs
        if code not in there[item].get(time, ()) and not (replaces and any(later > time for later in there[item]))
    ]
    # newest first; within one second, the last to arrive first
    new.sort(key=lambda each: each[2])
    columns = np.array(new[::-1], np.int64).reshape(-1, 3).T
    parts = zip(columns, (old.item_numbers, old.ratings, old.times), strict=True)
    joined = [np.concatenate([added, column[kept]]) for added, column in parts]
    order = np.argsort(-joined[2], kind="stable")
    return History(*(column[order] for column in joined))
