"""The shapes of what is answered to who writes, for the API's description. Tests hold real answers against them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from data_exchange_center.dataset import OwnId


class EventRecorded(BaseModel):
    """What became of an event."""

    eventid: str
    new: bool = Field(description="false: one of this id was recorded before, and this one changes nothing")
    known_item: bool = Field(description="false: it counts as soon as a release knows the item")


class EventsAnswer(BaseModel):
    """The events are recorded, in the order in which they were sent."""

    events: list[EventRecorded]


class FeedbackAnswer(BaseModel):
    """The events are recorded; how many of them are new."""

    RowAffected: int


class ForgottenAnswer(BaseModel):
    """The user is forgotten."""

    userid: OwnId
    events: int = Field(description="how many were deleted from the log")
    releases: int = Field(description="how many of them knew the user")
