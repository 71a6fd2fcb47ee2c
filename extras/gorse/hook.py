"""Gorse-compatible REST API, so that its clients work with this server: recommendations, neighbours, the popular items,
sessions, and feedback.

Ids are strings there, whatever they are in the data set. `n` and `offset` select a page of a list of at most 200. Keys
come in `X-API-Key`, which `extras.keys` reads.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import uuid4

from flask import Flask, request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel

from data_exchange_center.dataset import MAX_BYTES, IdKind, OwnId
from data_exchange_center.events import Event
from extras.events.hook import MAX_EVENTS, record, refusal
from extras.questions.similar import SimilarQuery, alike
from extras.routes import route
from online.recommend.outcomes import BadRequestError
from online.recommend.recommend import items_of
from online.recommend.types import MAX_SIZE, MAX_TIMESTAMP, Item, read_id
from online.web.guard import current_record, only_reads, open_at_first
from online.web.parts import Parts

log = logging.getLogger(__name__)

_GO_ZERO: Final = "0001-01-01T00:00:00"  # what Go's clients send where they set no time
_FEEDBACK: Final = [
    {"FeedbackType": "rating", "UserId": "1", "ItemId": "2858", "Value": 5}
]
_NAMES: Final = {  # field of an event -> how Gorse calls it
    "userid": "UserId",
    "itemid": "ItemId",
    "type": "FeedbackType",
    "value": "Value",
    "timestamp": "Timestamp",
}
_SHAPE: Final = f"a JSON list of 1 to {MAX_EVENTS} objects"


def register(app: Flask, parts: Parts) -> None:
    """`GET /api/recommend/<userid>`, `/api/item/<itemid>/neighbors`, `/api/popular`; `POST /api/session/recommend`,
    `/api/feedback`."""
    recommender = parts.recommender
    events = app.extensions.get("events")
    if events is None or "history" not in parts.request_model.model_fields:
        log.warning(
            "the extra gorse is left out: it needs the extras events and questions"
        )
        return

    def recommended(page: Page, **fields: Any) -> list[Item]:
        """The page of a list. Raises BadRequestError."""
        current = current_record()
        answer = parts.recommend(
            parts.request_model.model_validate(fields | {"size": page.end}),
            current.watch,
        )
        current.answer = answer
        return answer.item_list[page.offset :]

    @route(
        app,
        parts,
        "GET",
        "/api/recommend/<any_text:userid>",
        Recommended,
        404,
        query=Page,
        parameters=[
            {
                "name": "X-API-Version",
                "in": "header",
                "schema": {"type": "string", "examples": ["2"]},
            }
        ],
    )
    def gorse_recommend(page: Page, userid: str) -> Recommended:
        """A user's best unseen items, as Gorse answers."""
        text = userid.removesuffix("/")  # before a category, which PyGorse adds
        own = read_id("userid", text, recommender.releases.get().user_ids)
        current_record().facts |= {"user": own, "size": page.end}
        scores = _scores(recommended(page, userid=own)).root
        if request.headers.get("X-API-Version") == "2":
            return Recommended(scores)
        return Recommended([each.Id for each in scores])

    @route(
        app,
        parts,
        "GET",
        "/api/item/<any_text:itemid>/neighbors",
        Scores,
        404,
        query=Page,
    )
    def gorse_neighbors(page: Page, itemid: str) -> Scores:
        """The items most like one, as Gorse answers."""
        query = SimilarQuery(itemid=[itemid], size=page.end)
        found = alike(recommender.releases.get(), query, parts.in_order)
        return _scores(found.item_list[page.offset :])

    @route(app, parts, "GET", "/api/popular", Scores, query=Page)
    def gorse_popular(page: Page) -> Scores:
        """The popular items, as Gorse answers."""
        opened = recommender.releases.get()
        popular = opened.popular
        at = parts.in_order(opened, popular.ids)[page.offset : page.end]
        return _scores(items_of(opened.catalogue, popular.ids[at], popular.scores[at]))

    @route(
        app,
        parts,
        "POST",
        "/api/session/recommend",
        Scores,
        query=Page,
        body=SessionFeedbackList,
        example=_FEEDBACK,
        shape=_SHAPE,
    )
    @only_reads
    def gorse_session(page: Page, sent: SessionFeedbackList) -> Scores:
        """For somebody who is not stored, as Gorse answers."""
        dataset, history = recommender.releases.get().manifest.dataset, []
        nobody = 1 if dataset.user_ids == "integer" else "nobody"
        for place, each in enumerate(sent.root):
            event = each.event(dataset.user_ids, dataset.item_ids)
            problem = refusal(replace(event, userid=nobody), dataset, time.time())
            if problem is not None:
                name, what = problem
                field = f"[{place}].{_NAMES[name]}"
                raise BadRequestError(field, f"{field} {what}")
            past = {"itemid": event.itemid, "type": event.type, "value": event.value}
            history.append({**past, "timestamp": each.seconds})
        return _scores(recommended(page, history=history))

    @open_at_first
    def feedback(sent: FeedbackList) -> FeedbackAnswer:
        """Events as Gorse's clients send them."""
        opened = recommender.releases.get()
        dataset = opened.manifest.dataset
        given = [each.event(dataset.user_ids, dataset.item_ids) for each in sent.root]
        recorded = record(events, opened, given, "[{place}].", _NAMES)
        return FeedbackAnswer(RowAffected=sum(each.new for each in recorded))

    for method in ("POST", "PUT"):
        route(
            app,
            parts,
            method,
            "/api/feedback",
            FeedbackAnswer,
            name=f"{method.lower()}_feedback",
            body=FeedbackList,
            example=_FEEDBACK,
            shape=_SHAPE,
        )(feedback)


# --------------------------------------------------------------------------------------------------------------- shapes


class Page(BaseModel):
    """A part of a list."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    n: Annotated[int, Field(ge=1, le=MAX_SIZE)] = Field(
        default=10, description=f"a whole number from 1 to {MAX_SIZE}: how many items"
    )
    offset: Annotated[int, Field(ge=0, lt=MAX_SIZE)] = Field(
        default=0,
        description=f"a whole number from 0 to {MAX_SIZE - 1}: how many are left out before them",
    )

    @property
    def end(self) -> int:
        """Place after the page's last item. Raises BadRequestError if it is beyond the longest list."""
        if self.offset + self.n > MAX_SIZE:
            raise BadRequestError(
                "offset", f"offset and n must be {MAX_SIZE} together, at most."
            )
        return self.offset + self.n


class Score(BaseModel):
    """An item of a list."""

    Id: str
    Score: float


class Scores(RootModel[list[Score]]):
    """Items, best first."""


class Recommended(RootModel[list[str] | list[Score]]):
    """Ids, best first; with the header X-API-Version: 2 their scores, too."""


def _scores(found: Iterable[Item]) -> Scores:
    return Scores([Score(Id=str(each.itemid), Score=each.score) for each in found])


def _seconds(text: str) -> int | None:
    """Seconds since 1970 of a time in ISO 8601, in UTC where it names no zone; None: no time. Raises ValueError."""
    if not text or text.startswith(_GO_ZERO):
        return None
    at = datetime.fromisoformat(text)
    seconds = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    if not 0 <= seconds <= MAX_TIMESTAMP:
        raise ValueError("before 1970, or after 2106")
    return seconds


def _a_time(text: str) -> str:
    """Raises ValueError."""
    _seconds(text)
    return text


class SessionFeedback(BaseModel):
    """An event as Gorse's clients send it. Ids are strings there; those of this data set may be numbers."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    FeedbackType: Annotated[str, Field(min_length=1, max_length=64)]
    UserId: Annotated[str, Field(max_length=MAX_BYTES)] = ""
    ItemId: Annotated[str, Field(min_length=1, max_length=MAX_BYTES)]
    Value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    Timestamp: Annotated[str, AfterValidator(_a_time)] = ""  # empty: now

    @property
    def seconds(self) -> int | None:
        return _seconds(self.Timestamp)

    def event(self, users: IdKind, items: IdKind) -> Event:
        """Convert to an event.

        Gorse's feedback has no id. Of dated feedback it is a hash of what was sent: a retry counts once. Feedback
        without a time is always new, as a retry and a change of mind look alike.
        """
        names = f"{self.FeedbackType}\n{self.UserId}\n{self.ItemId}"
        sent = f"{names}\n{self.seconds or uuid4()}\n{self.Value}"
        return Event(
            eventid=f"gorse-{hashlib.sha256(sent.encode()).hexdigest()[:32]}",
            userid=_own(self.UserId, users),
            itemid=_own(self.ItemId, items),
            type=self.FeedbackType,
            timestamp=int(time.time()) if self.seconds is None else self.seconds,
            value=self.Value,
        )


class Feedback(SessionFeedback):
    """Of a user."""

    UserId: Annotated[str, Field(min_length=1, max_length=MAX_BYTES)]


class FeedbackList(
    RootModel[Annotated[list[Feedback], Field(min_length=1, max_length=MAX_EVENTS)]]
):
    """Several, as Gorse's clients send them."""


class SessionFeedbackList(
    RootModel[
        Annotated[list[SessionFeedback], Field(min_length=1, max_length=MAX_EVENTS)]
    ]
):
    """Several of a session, whose user is not looked at."""


def _own(text: str, kind: IdKind) -> OwnId:
    """An id, which is text in Gorse's shape; one that is no number where numbers are expected is refused later."""
    if kind == "integer" and text.isascii() and text.isdecimal():
        return int(text)
    return text


class FeedbackAnswer(BaseModel):
    """The events are recorded; how many of them are new."""

    RowAffected: int
