"""Models of explanations, for answers and for their description in OpenAPI."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, Field

from data_exchange_center.dataset import OwnId
from online.recommend.types import absent_by_default

ReasonCode = Literal["liked", "rated", "did", "profile", "terms", "popular", "taste"]
WhyNotCode = Literal[
    "in_the_list",
    "seen",
    "hidden",
    "unknown_user",
    "unknown_item",
    "never_trained",
    "not_found",
    "not_fused",
    "no_features",
    "ranked_below",
    "too_alike",
]


class Sentence(BaseModel):
    """The same sentence in each language."""

    en: str
    zh: str


class NamedItem(BaseModel):
    """An item by its name."""

    itemid: OwnId
    title: str


class Reason(BaseModel):
    """Why an item is in the list: a code and what goes with it for programs, a sentence for people."""

    code: ReasonCode = Field(
        description="liked, rated: `items` of the history are like it; did: the same, of events of the type in "
        "`values`; profile: it is liked by people whose `values` are the same; terms: it has `values` that the user "
        "prefers; popular: with everybody, and `values` that the user prefers, if any; taste: near the user's learned "
        "vector"
    )
    items: list[NamedItem] = []
    values: list[str] = Field(
        default=[],
        description="did: a type of events; profile: fields; terms, popular: terms",
    )
    sentence: Sentence


class Place(BaseModel):
    """Where an item stands on a list."""

    rank: int | None = Field(
        default=None, description="from 1; null: it is not on the list"
    )
    score: float | None = None
    of: int = Field(description="how many items are on the list")


class EventShare(NamedItem):
    """What one event of the history adds to a channel's score."""

    rating: float = Field(
        description="the user's; 1 where the data set has events without a value"
    )
    timestamp: int = Field(description="when, in seconds")
    share: float


class Shares(BaseModel):
    """What a channel's score is the sum of: base, popularity, profile, history and older, within 1e-5."""

    base: float = Field(description="what every user would get")
    popularity: float = Field(description="of the item alone")
    profile: dict[str, float] = Field(description="field → its share")
    history: list[EventShare] = Field(
        description="the events with the largest shares, of either sign"
    )
    others: float = Field(description="of all other events together")


class ChannelPlace(Place):
    """Where an item stands on a channel's list, and what its score consists of."""

    shares: Shares | None = Field(
        default=None,
        description="null where the channel's score is no sum over the history",
    )


class ColumnEffect(BaseModel):
    """What one column of the ranking model's input changes."""

    column: str
    value: float = Field(description="as the model sees it")
    instead: float = Field(
        description="what it was replaced by: the mean of the list; 0, unknown, for a category"
    )
    effect: float = Field(description="the score minus the score with the replacement")


class Effects(BaseModel):
    """What moves the ranking model's score most, by taking one thing away at a time; effects do not add up."""

    columns: list[ColumnEffect] = Field(
        description="largest effect first, of either sign"
    )


_DIVERSIFIED: Final = (
    "its place where the list was made diverse, and it has no score there; else absent"
)


class Explanation(BaseModel):
    """Why one item is where it is."""

    itemid: OwnId
    reason: Reason
    channels: dict[str, ChannelPlace]
    fused: Place
    ranked: Place
    diversified: Place | None = absent_by_default(None, _DIVERSIFIED)
    effects: Effects | None = Field(
        default=None,
        description="null where the model did not rank, beyond fifty items, and where no time was left for it",
    )


class WhyNot(BaseModel):
    """Why an item is not in a user's list, or that it is."""

    size: int = Field(description="length of the explained list")
    channels: dict[str, ChannelPlace] = Field(
        default={},
        description="by exact search among all unseen items: `rank` may be beyond `cut`",
    )
    cut: int = Field(
        default=0, description="the last rank, of a channel and of fusion, that goes on"
    )
    fused: Place | None = None
    ranked: Place | None = None
    diversified: Place | None = absent_by_default(None, _DIVERSIFIED)
    effects: Effects | None = Field(
        default=None,
        description="what moves its score most; of one below the list, against the mean of the list",
    )
    userid: OwnId
    itemid: OwnId
    title: str = Field(description="empty where the item is unknown")
    release: str
    code: WhyNotCode
    sentence: Sentence
