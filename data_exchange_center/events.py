"""Events: what users did while the server runs, and a user's state after them.

A release holds a user's state as its data set had it. Later events are stored once per user, outside of releases, and
`updated` applies them whenever the state is read. It may get events that the release was trained on: an event is
identified by item, time and rating, and counts once. So nothing is carried from one release to the next.

`extras/events` records events (`POST /ml/event`) and exports them; the steps train on the exported ones
(`offline.feedback`).
"""

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
        known = {
            name: value
            for name in self.__slots__
            if (value := getattr(self, name)) is not None
        }
        return json.dumps(known, separators=(",", ":"))

    @classmethod
    def unpack(cls, raw: str | bytes) -> Self:
        """Inverse of `pack`. Raises ValueError, TypeError."""
        return cls(**json.loads(raw))


class Logged(NamedTuple):
    """An event and its place in the log: of two events of one second, the later place is the later event."""

    time: int  # of the event
    # of its entry in the stream: milliseconds when it was acknowledged, and a count
    position: tuple[int, int]
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


def opinion(event: Event, dataset: Dataset) -> bool | None:
    """Whether an event says that the user likes the item: True for a rating above the data set's threshold, False for a
    lower one or a retraction, None if it says neither."""
    effect = dataset.event_types.get(event.type)
    if effect == "retracts":
        return False
    code = dataset.code(event.value) if effect == "rates" else None
    return None if code is None else code > dataset.positive_level


def likes(event: Event, dataset: Dataset) -> bool:
    """Whether an event is positive feedback: a rating above the data set's threshold."""
    return opinion(event, dataset) is True


class _Changes:
    """What events change, by item number.

    Attributes:
        replaced: item -> the second up to which its events in the history no longer count.
        rated: item -> its new (second, rating code), in order.
        hidden: item -> whether the last event that hides or retracts has hidden it.
    """

    def __init__(self) -> None:
        self.replaced: dict[int, int] = {}
        self.rated: dict[int, list[tuple[int, int]]] = {}
        self.hidden: dict[int, bool] = {}

    def add(self, event: Event, item: int, dataset: Dataset) -> None:
        """Add an event of an item. One whose type or value is unknown changes nothing."""
        effect = dataset.event_types.get(event.type)
        if effect == "rates":
            code = dataset.code(event.value)
            if code is None:
                return
            if dataset.has_values:  # a rating replaces the earlier ones
                self.replaced[item] = event.timestamp
                self.rated[item] = []
            rating = event.timestamp, code
            of_item = self.rated.setdefault(item, [])
            if rating not in of_item:
                of_item.append(rating)
        elif effect == "hides":
            self.hidden[item] = True
        elif effect == "retracts":
            self.replaced[item] = event.timestamp
            self.rated[item] = []
            self.hidden[item] = False


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
    changes = _Changes()
    for time, _, event in sorted(events, key=lambda each: each[:2]):
        item = items.get(event.itemid)
        if item is not None and (before is None or time < before):
            changes.add(event, item, dataset)
    if not changes.rated and not changes.hidden:
        return history, seen

    # of the history stay the events that no later one replaces or retracts
    stays = np.ones(len(history), np.bool_)
    for place in np.flatnonzero(
        np.isin(history.item_numbers, list(changes.replaced))
    ).tolist():
        stays[place] = (
            history.times[place] > changes.replaced[int(history.item_numbers[place])]
        )

    seen = _seen_after(
        seen, changes, set(history.item_numbers[stays].tolist()), dataset
    )
    if changes.rated:
        history = _joined(history, stays, changes.rated, replaces=dataset.has_values)
    return history, seen


def _seen_after(
    seen: NDArray[np.int32], changes: _Changes, in_history: set[int], dataset: Dataset
) -> NDArray[np.int32]:
    """The seen items after the changes; one without any event left is unseen again."""
    unseen = []
    added = []
    for item, ratings in changes.rated.items():
        if ratings and not dataset.allows_repeats:
            added.append(item)
        if not ratings and item not in in_history:
            unseen.append(item)
    for item, is_hidden in changes.hidden.items():
        if is_hidden:
            added.append(item)
    remaining = seen[~np.isin(seen, unseen)]
    return np.union1d(remaining, added).astype(np.int32)


def _joined(
    old: History,
    stays: NDArray[np.bool_],
    rated: Mapping[int, list[tuple[int, int]]],
    *,
    replaces: bool,
) -> History:
    """Merge the events of a history that stay, (n,) mask, with the new (second, rating) of each item, newest first.

    ``replaces``: a new rating counts only if the history has no later one of the item.
    """
    # item -> its (second, rating) that stay
    known: dict[int, set[tuple[int, int]]] = {item: set() for item in rated}
    for place in np.flatnonzero(
        stays & np.isin(old.item_numbers, list(rated))
    ).tolist():
        known[int(old.item_numbers[place])].add(
            (int(old.times[place]), int(old.ratings[place]))
        )
    new = []
    for item, ratings in rated.items():
        for time, code in ratings:
            is_replaced = replaces and any(later > time for later, _ in known[item])
            if (time, code) not in known[item] and not is_replaced:
                new.append((item, code, time))
    new.sort(key=lambda each: each[2])
    new.reverse()  # newest first; within one second, the last to arrive first
    added = np.array(new, np.int64).reshape(-1, 3)
    numbers = np.concatenate([added[:, 0], old.item_numbers[stays]])
    ratings_ = np.concatenate([added[:, 1], old.ratings[stays]])
    times = np.concatenate([added[:, 2], old.times[stays]])
    order = np.argsort(-times, kind="stable")
    return History(numbers[order], ratings_[order], times[order])
