"""The shapes of what can be looked up, for the API's description. Tests hold real answers against them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import Effect, OwnId


class ShownItem(BaseModel):
    """An item, with what the data set says of it."""

    model_config = ConfigDict(extra="allow")

    itemid: OwnId
    title: str


class PastEvent(ShownItem):
    """An item that a user has had to do with."""

    value: float = Field(description="as the data set has it: a rating")
    liked: bool
    timestamp: int = Field(description="seconds since 1970-01-01 UTC")


class SomeUser(BaseModel):
    """A user to choose."""

    userid: OwnId
    events: int


class Users(BaseModel):
    """Some users of a release."""

    release: str
    users: list[SomeUser]


class UserHistory(BaseModel):
    """What a user has done, newest first."""

    userid: OwnId
    release: str
    known: bool = Field(description="false: a stranger")
    events: int = Field(description="in all")
    last: int | None = Field(description="when the newest was, in seconds since 1970-01-01 UTC")
    item_list: list[PastEvent]


class Items(BaseModel):
    """Items whose titles match, best first."""

    release: str
    item_list: list[ShownItem]


class PlacedItem(ShownItem):
    """An item and its place."""

    x: float = Field(ge=-1, le=1)
    y: float = Field(ge=-1, le=1)


class ItemMap(BaseModel):
    """Items on a plane: near to each other where their vectors point the same way."""

    release: str
    channel: str = Field(description="whose vectors these are")
    item_list: list[PlacedItem] = Field(description="the most popular of those that have a vector")


class KeptRelease(BaseModel):
    """A release that can be named in a request."""

    release: str
    live: bool
    recipe: str
    dataset: str
    channels: list[str]
    ranker: str
    levels: list[float] = Field(description="the values that ratings have")
    positive_level: int = Field(description="how many of them, from the lowest, are no liking")
    event_types: dict[str, Effect] = Field(description="what `/ml/event` takes, and what each does")


class KeptReleases(BaseModel):
    """The live release and the one before it, newest activation first."""

    releases: list[KeptRelease]


class Activated(BaseModel):
    """A release is served from now on."""

    release: str
    live: Literal[True]
