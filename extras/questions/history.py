"""Recommend to anonymous users (sessions): a request brings the events, and nothing is written.

The answer is that of a new user whose same events were recorded before: the channels compute a user's vectors from the
history alone.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_exchange_center.candidates import StoredUser
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event, Logged
from extras.events.hook import MAX_EVENTS, refusal
from online.recommend.loaded_release import Release
from online.recommend.outcomes import BadRequestError
from online.recommend.types import (
    MAX_TIMESTAMP,
    Answer,
    Request,
    UserId,
    absent_by_default,
)


class PastEvent(BaseModel):
    """An event of the user with an item."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    itemid: UserId
    type: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default_factory=str,
        description="as of /ml/event; where it is not given, the one that rates",
    )
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    timestamp: Annotated[int, Field(ge=0, le=MAX_TIMESTAMP)] | None = Field(
        default=None,
        description="seconds since 1970-01-01 UTC; where it is not given, just before the request",
    )


class HistoryRequest(Request):
    """For a user of the release, or, with a history, for anybody."""

    # not anyOf, of which generators of clients make a body without a type
    model_config = ConfigDict(
        json_schema_extra={
            "if": {"not": {"required": ["history"]}},
            "then": {"required": ["userid"]},
        }
    )

    userid: UserId = Field(
        default_factory=int,
        description="with a history it may be left out; it is not looked up",
    )
    history: Annotated[list[PastEvent], Field(max_length=MAX_EVENTS)] = Field(
        default_factory=list, description="what the user did, instead of what is stored"
    )

    @model_validator(mode="after")
    def _of_somebody(self) -> HistoryRequest:
        if self.model_fields_set.isdisjoint(("userid", "history")):
            raise BadRequestError("userid", "userid: Field required, or a history.")
        return self


class HistoryAnswer(Answer):
    """For anybody."""

    userid: OwnId = absent_by_default(0, "absent where the request names none")


def own_state(request: Any, opened: Release, stored: StoredUser | None) -> StoredUser:
    """User state from the events of a `HistoryRequest`. Raises BadRequestError."""
    dataset, now = opened.manifest.dataset, time.time()
    rates = [name for name, does in dataset.event_types.items() if does == "rates"]
    nobody = 1 if dataset.user_ids == "integer" else "nobody"
    just_before = max(min(request.timestamp, int(now)) - 1, 0)
    events = []
    for place, each in enumerate(request.history):
        at = just_before if each.timestamp is None else each.timestamp
        event = Event(
            eventid=f"{place}",
            userid=request.userid or nobody,
            itemid=each.itemid,
            type=each.type or rates[0],
            timestamp=at,
            value=each.value,
        )
        problem = refusal(event, dataset, now)
        if problem is not None:
            field, text = problem
            if field != "userid":
                field = f"history[{place}].{field}"
            raise BadRequestError(field, f"{field} {text}")
        events.append(Logged(at, (0, place), event))
    return StoredUser.unknown(tuple(events))
