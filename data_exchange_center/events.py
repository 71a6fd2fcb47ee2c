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
    code = dataset.code(event.value, event.type) if effect == "rates" else None
    if code is None:
        return None
    if code <= dataset.positive_level and dataset.types:
        return False if dataset.types[code - 1].negative else None
    return code > dataset.positive_level


class _State:
    """Ratings and hidden items while events are applied.

    Attributes:
        ratings: item number -> second, rating code and place of its ratings; a lower place is newer within a second.
        changed: items that an event has rated or retracted.
        hidden: item -> whether the last event that hides or retracts has hidden it.
        unchanged: (n,) mask of the history's events, True: of an item without a new event.
    """

    def __init__(self, history: History, items: Iterable[int]) -> None:
        """The ``items`` that have events, as the history has them."""
        self.ratings: dict[int, list[tuple[int, int, int]]] = {
            each: [] for each in items
        }
        self.changed: set[int] = set()
        self.hidden: dict[int, bool] = {}
        self.unchanged = ~np.isin(history.item_numbers, list(self.ratings))
        for place in np.flatnonzero(~self.unchanged).tolist():
            rating = int(history.times[place]), int(history.ratings[place]), place
            self.ratings[int(history.item_numbers[place])].append(rating)

    def apply(self, event: Event, item: int, place: int, dataset: Dataset) -> None:
        """Apply an event of an item. One whose type or value is unknown changes nothing."""
        effect = dataset.event_types.get(event.type)
        code = dataset.code(event.value, event.type) if effect == "rates" else None
        if effect in ("hides", "retracts"):
            self.hidden[item] = effect == "hides"
        if effect != "retracts" and code is None:
            return
        self.changed.add(item)
        ratings = self.ratings[item]
        if code is None or dataset.has_values:  # earlier ratings no longer count
            ratings = [each for each in ratings if each[0] > event.timestamp]
        rating = event.timestamp, code
        is_known = rating in [each[:2] for each in ratings]
        is_replaced = dataset.has_values and bool(ratings)  # by a later one
        if code is not None and not is_known and not is_replaced:
            ratings.append((event.timestamp, code, place))
        self.ratings[item] = ratings


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
    history, seen = state_as_of(history, seen, before, dataset.had)
    known = []
    for time, _, event in sorted(events, key=lambda each: each[:2]):
        if event.itemid in items and (before is None or time < before):
            known.append((items[event.itemid], event))
    if not known:
        return history, seen
    state = _State(history, [item for item, _ in known])
    for n, (item, event) in enumerate(known, start=1):
        state.apply(event, item, -n, dataset)

    # an item without any event left is unseen again
    unseen = []
    added = [item for item, is_hidden in state.hidden.items() if is_hidden]
    for item in state.changed:
        if not state.ratings[item]:
            unseen.append(item)
        codes = np.array([code for _, code, _ in state.ratings[item]], np.int64)
        if dataset.had(codes).any():
            added.append(item)
    remaining = seen[~np.isin(seen, unseen)]
    seen = np.union1d(remaining, added).astype(np.int32)
    return _history_after(history, state), seen


def _history_after(history: History, state: _State) -> History:
    """The history with the new ratings, and without those that no longer count."""
    stays = state.unchanged.copy()
    new = []
    for item, ratings in state.ratings.items():
        for time, code, place in ratings:
            if place < 0:
                new.append((place, item, code, time))
            else:
                stays[place] = True
    new.sort()  # within one second, the last to arrive first
    added = np.array(new, np.int64).reshape(-1, 4)
    numbers = np.concatenate([added[:, 1], history.item_numbers[stays]])
    codes = np.concatenate([added[:, 2], history.ratings[stays]])
    times = np.concatenate([added[:, 3], history.times[stays]])
    order = np.argsort(-times, kind="stable")
    return History(numbers[order], codes[order], times[order])
