"""From what was sent to what is recorded: an event is held against the data set, then kept.

Of a batch, where one event is refused, none is recorded; where too many are kept of a user, none of that user's.
What is decided about the odd ones:

- an item that the release does not know is recorded, and counts as soon as a release knows it;
- a user whom the release does not know is a stranger, whose list is personal from the first event on;
- an event may be late, by any time, and events may come in any order: each counts when it happened;
- one from the future is refused, but for `AHEAD_S`, by which a sender's clock may be wrong;
- a type that the data set does not declare is refused, and so is a rating without a value or with another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from data_exchange_center.dataset import MAX_INTEGER, Dataset, IdKind, OwnId, kind_of
from extras.events.events import Event
from extras.events.incoming import EventError
from extras.events.log import Forgotten, Recording
from online.recommend.release import Release

AHEAD_S: Final = 60


class Log(Protocol):
    """What keeps events."""

    def call(self, query: Recording, /) -> tuple[bool, ...]: ...

    def forget(self, userid: OwnId, dataset: str) -> Forgotten: ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an event."""

    event: Event
    is_new: bool  # False: it was recorded before
    known_item: bool  # to the release that answers


class Recorder:
    """Shared by the threads of a process."""

    def __init__(self, log: Log, opened: Callable[[], Release], clock: Callable[[], float] = time.time) -> None:
        """``opened``: the release whose data set says what an event may be."""
        self._log = log
        self._opened = opened
        self._clock = clock

    @property
    def dataset(self) -> Dataset:
        """Raises ServiceError, NoReleaseError."""
        return self._opened().manifest.dataset

    def record(self, events: Sequence[Event]) -> list[Recorded]:
        """Raises EventError, TooManyEventsError, and ServiceError or NoReleaseError.

        After these two it is right to send the same again.
        """
        opened = self._opened()
        dataset = opened.manifest.dataset
        for place, event in enumerate(events):
            check(event, dataset, self._clock(), f"[{place}]." if len(events) > 1 else "")
        noted = {name for name, effect in dataset.event_types.items() if effect == "notes"}
        new = self._log.call(Recording(dataset.base_name, events, noted))
        return [
            Recorded(event, is_new, event.itemid in opened.numbers) for event, is_new in zip(events, new, strict=True)
        ]

    def forget(self, userid: OwnId) -> Forgotten:
        """Raises ServiceError, NoReleaseError."""
        return self._log.forget(userid, self.dataset.base_name)


def check(event: Event, dataset: Dataset, now: float, where: str = "") -> None:
    """Raises EventError. ``where``: which event of a batch."""
    _expect_kind(event.userid, dataset.user_ids, f"{where}userid")
    _expect_kind(event.itemid, dataset.item_ids, f"{where}itemid")
    effect = dataset.event_types.get(event.type)
    if effect is None:
        raise EventError(f"{where}type", f"{where}type must be one of: {', '.join(sorted(dataset.event_types))}.")
    if effect == "rates" and dataset.code(event.value) is None:
        levels = "a number" if dataset.binned else f"one of {', '.join(f'{level:g}' for level in dataset.levels)}"
        raise EventError(f"{where}value", f"{where}value must be {levels}, as an event of type {event.type} rates.")
    if event.timestamp > now + AHEAD_S:
        raise EventError(f"{where}timestamp", f"{where}timestamp is in the future; it is seconds since 1970-01-01 UTC.")


def _expect_kind(own: OwnId, kind: IdKind, field: str) -> None:
    if kind_of(own) == kind and (kind == "string" or 1 <= int(own) <= MAX_INTEGER):
        return
    raise EventError(field, f"{field} must be a {'string' if kind == 'string' else 'whole number'} in this data set.")
