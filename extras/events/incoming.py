"""Events as they are sent: this server's own shape, and that of Gorse's API."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter

from data_exchange_center.dataset import MAX_BYTES, IdKind, OwnId
from data_exchange_center.errors import RecsysError
from extras.events.events import Event
from online.recommend.types import MAX_TIMESTAMP, UserId

MAX_NAME: Final = 128  # characters of an eventid and of a recommendation's
MAX_EVENTS: Final = 500  # of a batch
_GO_ZERO: Final = "0001-01-01T00:00:00"  # what Go's clients send where they set no time
ItemId = UserId  # an own id, too


class EventError(RecsysError):
    """An event cannot be what it says.

    Attributes:
        field: which part of it, as ``[3].type`` for the fourth of a batch.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


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
        """The same event; its eventid is made of what was sent, so that it counts once. Raises EventError.

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
            raise EventError(f"{where}Timestamp", f"{where}Timestamp must be {expected}, or empty.")
        return seconds


class FeedbackList(RootModel[Annotated[list[Feedback], Field(min_length=1, max_length=MAX_EVENTS)]]):
    """Several, as Gorse's clients send them."""

    def events(self, users: IdKind, items: IdKind) -> list[Event]:
        """Raises EventError."""
        return [each.event(users, items, f"[{place}].") for place, each in enumerate(self.root)]


def _own(text: str, kind: IdKind, field: str) -> OwnId:
    if kind == "string":
        return text
    if not (text.isascii() and text.isdecimal()):
        raise EventError(field, f"{field} must be a whole number in this data set, written as a string.")
    return int(text)
