"""Events as they are sent, in this server's own shape and in Gorse's, and what becomes of them.

Of a batch, where one event is refused, none is recorded; where too many are kept of a user, none of that user's.
The odd cases:

- an item that the release does not know is recorded, and counts as soon as a release knows it;
- a user whom the release does not know is a stranger, whose list is personal from the first event on;
- an event may be late, by any time, and events may come in any order: each counts when it happened;
- one from the future is refused, but for `AHEAD_S`, by which a sender's clock may be wrong;
- a type that the data set does not declare is refused, and so is a rating without a value or with another one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter

from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER, Dataset, IdKind, OwnId, kind_of
from extras.events.events import Event
from extras.events.log import EventLog, Forgotten, Recording
from online.recommend.release import Release
from online.recommend.types import MAX_TIMESTAMP, BadRequestError, UserId

AHEAD_S: Final = 60
MAX_NAME: Final = 128  # characters of an eventid and of a recommendation's
MAX_EVENTS: Final = 500  # of a batch
_GO_ZERO: Final = "0001-01-01T00:00:00"  # what Go's clients send where they set no time
ItemId = UserId  # an own id, too


FieldName = Callable[[int, str], str]  # an event's place in what was sent, a field -> how its sender calls it


def of_one(place: int, name: str) -> str:
    """Name a field of a single event."""
    return name


def of_list(place: int, name: str) -> str:
    """Name a field of an event of a list."""
    return f"[{place}].{name}"


def of_feedback(place: int, name: str) -> str:
    """Name a field of an event of Gorse's."""
    return f"[{place}].{_GORSE[name]}"


_GORSE: Final = {
    "userid": "UserId", "itemid": "ItemId", "type": "FeedbackType", "value": "Value", "timestamp": "Timestamp"
}  # fmt: skip


def _now() -> int:
    return int(time.time())


class IncomingEvent(BaseModel):
    """Somebody did something with an item. Sent again under the same eventid, it counts once."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    eventid: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    userid: UserId
    itemid: ItemId
    type: Annotated[str, Field(min_length=1, max_length=64)]  # as the data set declares
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    timestamp: Annotated[int, Field(ge=0, le=MAX_TIMESTAMP, default_factory=_now)]  # seconds since 1970-01-01 UTC
    recommendation: Annotated[str, Field(max_length=MAX_NAME)] | None = None  # the answer that showed the item

    def event(self) -> Event:
        return Event(**self.model_dump())


Batch = Annotated[list[IncomingEvent], Field(min_length=1, max_length=MAX_EVENTS)]
_batch: Final[TypeAdapter[list[IncomingEvent]]] = TypeAdapter(Batch)


class IncomingEvents(RootModel[IncomingEvent | Batch]):
    """One event or a list of them."""


def parse(body: bytes) -> list[Event]:
    """`IncomingEvents` as events. Raises pydantic's ValidationError, whose place begins with an event's in a list."""
    if body.lstrip().startswith(b"["):
        return [each.event() for each in _batch.validate_json(body)]
    return [IncomingEvent.model_validate_json(body).event()]


class Feedback(BaseModel):
    """An event as Gorse's clients send it. Ids are strings there; those of this data set may be numbers."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    FeedbackType: Annotated[str, Field(min_length=1, max_length=64)]
    UserId: Annotated[str, Field(min_length=1, max_length=MAX_BYTES)]
    ItemId: Annotated[str, Field(min_length=1, max_length=MAX_BYTES)]
    Value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    Timestamp: str = ""  # ISO 8601, in UTC where it names no zone; empty, or Go's zero time: now

    def event(self, users: IdKind, items: IdKind, where: str = "") -> Event:
        """The same event; its eventid is made of what was sent, so that it counts once. Raises BadRequestError.

        Without a time, the same feedback is the same event whenever it is sent.
        """
        timestamp = self._seconds(where)
        sent_at = str(timestamp) if self._has_time else ""
        told_by = "\n".join((self.FeedbackType, self.UserId, self.ItemId, sent_at, str(self.Value)))
        return Event(
            eventid=f"gorse-{hashlib.sha256(told_by.encode()).hexdigest()[:32]}",
            userid=_own(self.UserId, users, f"{where}UserId"),
            itemid=_own(self.ItemId, items, f"{where}ItemId"),
            type=self.FeedbackType,
            timestamp=timestamp,
            value=self.Value,
        )

    @property
    def _has_time(self) -> bool:
        return bool(self.Timestamp) and not self.Timestamp.startswith(_GO_ZERO)

    def _seconds(self, where: str) -> int:
        if not self._has_time:
            return _now()
        try:
            at = datetime.fromisoformat(self.Timestamp)
            seconds = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError):
            seconds = -1
        if not 0 <= seconds <= MAX_TIMESTAMP:
            expected = "a time after 1970 in ISO 8601, as 2026-05-31T17:45:00Z"
            raise BadRequestError(f"{where}Timestamp", f"{where}Timestamp must be {expected}, or empty.")
        return seconds


class FeedbackList(RootModel[Annotated[list[Feedback], Field(min_length=1, max_length=MAX_EVENTS)]]):
    """Several, as Gorse's clients send them."""

    def events(self, users: IdKind, items: IdKind) -> list[Event]:
        """Raises BadRequestError."""
        return [each.event(users, items, f"[{place}].") for place, each in enumerate(self.root)]


def _own(text: str, kind: IdKind, field: str) -> OwnId:
    if kind == "string":
        return text
    if not (text.isascii() and text.isdecimal()):
        raise BadRequestError(field, f"{field} must be a whole number in this data set, written as a string.")
    return int(text)


class EventRecorded(BaseModel):
    """What became of an event."""

    eventid: str
    new: bool = Field(description="false: one of this id was recorded before, and this one changes nothing")
    known_item: bool = Field(description="false: it counts as soon as a release knows the item")


class Recorder:
    """Shared by the threads of a process."""

    def __init__(self, log: EventLog, opened: Callable[[], Release], clock: Callable[[], float] = time.time) -> None:
        """``opened``: the release whose data set says what an event may be."""
        self._log = log
        self._opened = opened
        self._clock = clock

    @property
    def dataset(self) -> Dataset:
        """Raises ServiceError, NoReleaseError."""
        return self._opened().manifest.dataset

    def record(self, events: Sequence[Event], field: FieldName = of_one) -> list[EventRecorded]:
        """Record events; ``field``: how their sender calls a field of the event in a place.

        Raises BadRequestError, TooManyEventsError; ServiceError and NoReleaseError, after which it is right to send the
        same again.
        """
        opened = self._opened()
        dataset = opened.manifest.dataset
        for place, event in enumerate(events):
            check(event, dataset, self._clock(), partial(field, place))
        noted = {name for name, effect in dataset.event_types.items() if effect == "notes"}
        new = self._log.call(Recording(dataset.base_name, events, noted))
        return [
            EventRecorded(eventid=event.eventid, new=is_new, known_item=event.itemid in opened.numbers)
            for event, is_new in zip(events, new, strict=True)
        ]

    def forget(self, userid: OwnId) -> Forgotten:
        """Raises ServiceError, NoReleaseError."""
        return self._log.forget(userid, self.dataset.base_name)


def check(event: Event, dataset: Dataset, now: float, field: Callable[[str], str]) -> None:
    """Raise BadRequestError for an event that the data set cannot have. ``field``: how the sender calls a field."""
    for name, own, kind in (("userid", event.userid, dataset.user_ids), ("itemid", event.itemid, dataset.item_ids)):
        if kind_of(own) != kind or not (kind == "string" or 1 <= int(own) <= MAX_INTEGER):
            what = "string" if kind == "string" else "whole number"
            raise BadRequestError(field(name), f"{field(name)} must be a {what} in this data set.")
    effect, where = dataset.event_types.get(event.type), field("type")
    if effect is None:
        raise BadRequestError(where, f"{where} must be one of: {', '.join(sorted(dataset.event_types))}.")
    if effect == "rates" and dataset.code(event.value) is None:
        levels = "a number" if dataset.binned else f"one of {', '.join(f'{level:g}' for level in dataset.levels)}"
        where = field("value")
        raise BadRequestError(where, f"{where} must be {levels}, as an event of type {event.type} rates.")
    if event.timestamp > now + AHEAD_S:
        where = field("timestamp")
        raise BadRequestError(where, f"{where} is in the future; it is seconds since 1970-01-01 UTC.")
