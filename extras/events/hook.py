"""Routes to record events (feedback), and to delete all data of a user.

If one event of a batch is invalid, none is recorded. The README's table covers late and future events, and those of
unknown users and items.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Annotated, Final

from flask import Flask, current_app
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter
from werkzeug.routing import BaseConverter

from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER, Dataset, OwnId
from data_exchange_center.events import Event
from extras.events.log import EventLog, Recording
from extras.routes import route
from online.recommend.loaded_release import Release
from online.recommend.outcomes import (
    BadRequestError,
)
from online.recommend.types import Timestamp, UserId, read_id
from online.web.guard import current_record, open_at_first
from online.web.parts import Parts

AHEAD_S: Final = 60
MAX_NAME: Final = 128  # characters of an eventid and of a recommendation's
MAX_EVENTS: Final = 500  # of a batch
RECORDED: Final = "recsys.recorded"  # among an application's extensions: functions called with a release and new events
FORGOTTEN: Final = "recsys.forgotten"  # and those called with a data set's name and the user who was forgotten
ItemId = UserId  # an own id, too
_EVENT: Final = {
    "eventid": "a1",
    "userid": 1,
    "itemid": 2858,
    "type": "rating",
    "value": 5,
}
_SHAPE: Final = f"a JSON object or a list of 1 to {MAX_EVENTS}"


def register(app: Flask, parts: Parts) -> None:
    """`POST /ml/event`, `DELETE /ml/user/<userid>`."""
    recommender = parts.recommender
    log = parts.stores.get("events") or EventLog(parts.settings.redis)
    app.extensions["events"] = log  # for other extras that record events
    app.url_map.converters["any_text"] = AnyText

    @route(
        app,
        parts,
        "POST",
        "/ml/event",
        EventsAnswer,
        name="record",
        body=IncomingEvents,
        parse=parse,
        example=_EVENT,
        shape=_SHAPE,
    )
    @open_at_first
    def event(sent: tuple[list[Event], str]) -> EventsAnswer:
        """Record events of users with items: one event, or a list.

        On disk when acknowledged, and known to the next answer. Where one of a list cannot be what it says (400), none
        is recorded. After an error send the same again: what is there already counts once.
        """
        events, where = sent
        recorded = record(log, recommender.releases.get(), events, where)
        return EventsAnswer(events=recorded)

    @route(
        app,
        parts,
        "DELETE",
        "/ml/user/<any_text:userid>",
        ForgottenAnswer,
        400,
        408,
        411,
        merge_slashes=False,
        security=[{"key": []}],
    )
    def forget(userid: str) -> ForgottenAnswer:
        """Forget a user: all that was sent, and what the releases have of the user."""
        if len(userid.encode()) > MAX_BYTES:
            raise BadRequestError(
                "userid", f"userid must be a string of 1 to {MAX_BYTES} bytes."
            )
        dataset = recommender.releases.get().manifest.dataset
        own = read_id("userid", userid, dataset.user_ids)
        events = log.forget(own, dataset.base_name)
        recommender.known_users.forget(own)
        for hear in app.extensions.get(FORGOTTEN, ()):
            hear(dataset.base_name, own)
        return ForgottenAnswer(userid=own, events=events)


def record(
    log: EventLog,
    opened: Release,
    events: Sequence[Event],
    where: str,
    names: Mapping[str, str] | None = None,
) -> list[EventRecorded]:
    """Record events.

    Args:
        opened: the release whose data set says what an event may be.
        where: prefix of a field's name in messages, with ``{place}`` for the event's index.
        names: field -> its name in the sender's format, if different.

    Raises BadRequestError; ServiceError, after which a retry is safe.
    """
    dataset = opened.manifest.dataset
    for place, event in enumerate(events):
        if (problem := refusal(event, dataset, time.time())) is not None:
            name, what = problem
            field = where.format(place=place) + (names or {}).get(name, name)
            raise BadRequestError(field, f"{field} {what}")
    noted = {name for name, effect in dataset.event_types.items() if effect == "notes"}
    new = log.call(Recording(dataset.base_name, events, noted))
    current_record().facts |= {"events": len(new), "new": sum(new)}
    for hear in current_app.extensions.get(RECORDED, ()):
        hear(opened, list(compress(events, new)))
    recorded = []
    for event, is_new in zip(events, new, strict=True):
        known = event.itemid in opened.numbers
        each = EventRecorded(eventid=event.eventid, new=is_new, known_item=known)
        recorded.append(each)
    return recorded


def refusal(event: Event, dataset: Dataset, now: float) -> tuple[str, str] | None:
    """Validate an event against the data set: the wrong field and what is wrong with it, or None."""
    for name, own, kind in (
        ("userid", event.userid, dataset.user_ids),
        ("itemid", event.itemid, dataset.item_ids),
    ):
        if kind == "string":
            if not isinstance(own, str):
                return name, "must be a string in this data set."
        elif isinstance(own, str) or not 1 <= own <= MAX_INTEGER:
            return name, "must be a whole number in this data set."
    effect = dataset.event_types.get(event.type)
    if effect is None:
        names = ", ".join(sorted(dataset.event_types))
        where = "; [types] in dataset.toml declares them" if dataset.types else ""
        return "type", f"must be one of: {names}{where}."
    if effect == "rates" and dataset.code(event.value, event.type) is None:
        levels = "a number"
        if not dataset.binned:
            levels = f"one of {', '.join(f'{level:g}' for level in dataset.levels)}"
        return "value", f"must be {levels}, as an event of type {event.type} rates."
    if event.timestamp > now + AHEAD_S:
        return "timestamp", "is in the future; it is seconds since 1970-01-01 UTC."
    return None


class AnyText(BaseConverter):
    """A part of a path that may hold anything: slashes, line breaks."""

    regex = r"(?s:.+)"
    part_isolating = False


# --------------------------------------------------------------------------------------------------------------- shapes


class IncomingEvent(BaseModel):
    """Somebody did something with an item. Sent again under the same eventid, it counts once."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    eventid: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    userid: UserId
    itemid: ItemId
    type: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="one that the data set declares"
    )
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    timestamp: Timestamp
    recommendation: Annotated[str, Field(max_length=MAX_NAME)] | None = Field(
        default=None, description="name of the answer that showed the item"
    )


Batch = Annotated[list[IncomingEvent], Field(min_length=1, max_length=MAX_EVENTS)]
_batch: Final[TypeAdapter[list[IncomingEvent]]] = TypeAdapter(Batch)


class IncomingEvents(RootModel[IncomingEvent | Batch]):
    """One event or a list of them."""


def parse(body: bytes) -> tuple[list[Event], str]:
    """Parse `IncomingEvents`, and name an event's place among them for `record`.

    Raises pydantic's ValidationError, whose location starts with an event's index.
    """
    if body.lstrip().startswith(b"["):
        incoming, where = _batch.validate_json(body), "[{place}]."
    else:
        incoming, where = [IncomingEvent.model_validate_json(body)], ""
    return [Event(**each.model_dump()) for each in incoming], where


class EventRecorded(BaseModel):
    """What became of an event."""

    eventid: str
    new: bool = Field(
        description="false: one of this id was recorded before, and this one changes nothing"
    )
    known_item: bool = Field(
        description="false: it counts as soon as a release knows the item"
    )


class EventsAnswer(BaseModel):
    """The events are recorded, in the order in which they were sent."""

    events: list[EventRecorded]


class ForgottenAnswer(BaseModel):
    """The user is forgotten. The chapter "Events" has a table of what still holds data of the user."""

    userid: OwnId
    events: int = Field(description="how many were deleted from the log")
