"""Models of explanations, for answers and for their description in OpenAPI."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from data_exchange_center.dataset import OwnId
from online.recommend.types import absent_by_default

ReasonCode = Literal["liked", "rated", "did", "profile", "popular", "taste"]
# rounded, hundreds of shares still add up within 1e-5
Score = Annotated[float, AfterValidator(lambda score: round(score, 7))]
WhyNotCode = Literal[
    "in_the_list",
    "seen",
    "hidden",
    "unknown_user",
    "unknown_item",
    "not_found",
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
        "`values`; profile: it is liked by people whose `values` are the same;"
        " popular: with everybody; taste: near the user's learned vector"
    )
    items: list[NamedItem] = []
    values: list[str] = Field(
        default=[],
        description="did: a type of events; profile: fields",
    )
    sentence: Sentence


class Place(BaseModel):
    """Where an item stands on a list."""

    rank: int | None = Field(
        default=None, description="from 1; null: it is not on the list"
    )
    score: Score | None = None
    of: int = Field(description="how many items are on the list")


class EventShare(NamedItem):
    """What one event of the history adds to a channel's score."""

    share: Score


class Shares(BaseModel):
    """What a channel's score is the sum of: base, popularity, profile, history and older, within 1e-5."""

    base: Score = Field(description="what every user would get")
    popularity: Score = Field(description="of the item alone")
    profile: dict[str, Score] = Field(description="field → its share")
    history: list[EventShare] = Field(
        description="the events with the largest shares, of either sign"
    )
    others: Score = Field(description="of all other events together")


class ChannelPlace(Place):
    """Where an item stands on a channel's list, and what its score consists of."""

    shares: Shares | None = Field(
        default=None,
        description="null where the channel's score is no sum over the history",
    )


class ColumnEffect(BaseModel):
    """What one column of the ranking model's input changes."""

    column: str
    effect: Score = Field(
        description="the score minus the score with the list's mean in this column, or 0, unknown, for a category"
    )


class Standing(BaseModel):
    """Where an item stands on each list of a request."""

    channels: dict[str, ChannelPlace] = Field(
        default={},
        description="of /ml/why-not by exact search among all unseen items, however far down",
    )
    fused: Place | None = Field(
        default=None, description="among recall's candidates; null of a popular list"
    )
    ranked: Place | None = None
    diversified: Place | None = absent_by_default(
        None, "where the list was made diverse; it has no score there"
    )
    effects: list[ColumnEffect] | None = Field(
        default=None,
        description="what moves the ranking model's score most, largest first, by taking one thing away at a time; "
        "null where the model did not rank, far down a long list, and where no time was left for it",
    )


class Explanation(Standing):
    """Why one item is where it is."""

    itemid: OwnId
    reason: Reason


class WhyNot(Standing):
    """Why an item is not in a user's list, or that it is."""

    itemid: OwnId
    release: str
    code: WhyNotCode
    sentence: Sentence
