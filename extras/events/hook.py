"""The routes that write: events come in, in this server's own shape and in Gorse's, and users are forgotten."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from flask import Flask, Response, jsonify, request
from pydantic import BaseModel, Field
from werkzeug.routing import BaseConverter

from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER, OwnId
from extras.events import incoming
from extras.events.compaction import Compaction
from extras.events.incoming import (
    MAX_EVENTS,
    MAX_NAME,
    EventRecorded,
    FeedbackList,
    IncomingEvents,
    Recorder,
    of_feedback,
    of_list,
    of_one,
)
from extras.events.log import EventLog, TooManyEventsError
from online.clients.redis import WHICH_IS_LIVE
from online.recommend.recommend import Recommender
from online.recommend.release import Release
from online.recommend.types import MAX_TIMESTAMP, BadRequestError, read_id
from online.web import records
from online.web.asgi import MAX_EVENTS_BODY
from online.web.guard import error_response, open_at_first, validated
from online.web.openapi import KEY, json_of, operation, responses
from online.web.parts import Parts

_ID = f"a whole number from 1 to {MAX_INTEGER}, or a string of 1 to {MAX_BYTES} bytes"
_EXPECTED: Final = {
    "eventid": f"a string of 1 to {MAX_NAME} characters",
    "userid": _ID,
    "itemid": _ID,
    "type": "a type of event that the data set declares, as a string",
    "value": "a number, or null",
    "timestamp": f"a whole number of seconds since 1970-01-01 UTC, from 0 to {MAX_TIMESTAMP}",
    "recommendation": f"a string of at most {MAX_NAME} characters, or null",
}
_EVENT: Final = {"eventid": "a1", "userid": 1, "itemid": 2858, "type": "rating", "value": 5}
_FEEDBACK: Final = [{"FeedbackType": "rating", "UserId": "1", "ItemId": "2858", "Value": 5}]
_USERID: Final = {"name": "userid", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_ERRORS: Final = (400, 401, 403, 408, 411, 429, 500, 503)
_EXAMPLE: Final = f"for example {json.dumps(_EVENT)}"
_SHAPE: Final = f"a JSON object or a list of 1 to {MAX_EVENTS}"
_STRING: Final = f"a string of 1 to {MAX_BYTES} bytes"
_GORSE_EXPECTED: Final = {
    "FeedbackType": _EXPECTED["type"],
    "UserId": _STRING,
    "ItemId": _STRING,
    "Value": _EXPECTED["value"],
    "Timestamp": "a time in ISO 8601, or empty",
}
_GORSE_EXAMPLE: Final = f"for example {json.dumps(_FEEDBACK)}"
_GORSE_SHAPE: Final = f"a JSON list of 1 to {MAX_EVENTS} objects"


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


def release_for_events(recommender: Recommender) -> Release:
    """The live release; while that cannot be had, the one that serves, if it is of the same data set.

    Raises NoReleaseError, ServiceError.
    """
    users, releases = recommender.users, recommender.releases
    serving, live = releases.serving, users.call(WHICH_IS_LIVE).live
    if serving is not None and live is not None:
        if live == serving.release:
            return serving
        opening = releases.open(live)
        published = None if opening.done() and opening.exception() is None else users.published(live)
        if published and published.manifest.dataset.base_name == serving.manifest.dataset.base_name:
            return serving
    return releases.live()


class AnyText(BaseConverter):
    """A part of a path that may hold anything: slashes, line breaks."""

    regex = r"(?s:.+)"
    part_isolating = False


def register(app: Flask, parts: Parts) -> None:
    """`POST /ml/event`, Gorse's `/api/feedback`, `DELETE /ml/user/<userid>`."""
    recommender = parts.recommender
    log = parts.stores.get("events") or EventLog(parts.settings.redis, Compaction(recommender))
    recorder = Recorder(log, lambda: release_for_events(recommender))
    app.url_map.converters["any_text"] = AnyText
    parts.describe(_paths(), [IncomingEvents, FeedbackList, EventsAnswer, FeedbackAnswer, ForgottenAnswer])

    @app.errorhandler(TooManyEventsError)
    def too_many_events(error: TooManyEventsError) -> Response:
        return error_response(409, "too_many_events", str(error))

    @app.post("/ml/event")
    @open_at_first
    def event() -> Response:
        body = _body()
        events = validated(body, incoming.parse, _EXPECTED, _EXAMPLE, _SHAPE)
        recorded = recorder.record(events, of_list if body.lstrip().startswith(b"[") else of_one)
        _note(recorded)
        return jsonify(EventsAnswer(events=recorded).model_dump())

    @app.route("/api/feedback", methods=["POST", "PUT"])
    @open_at_first
    def feedback() -> Response:
        sent = validated(_body(), FeedbackList.model_validate_json, _GORSE_EXPECTED, _GORSE_EXAMPLE, _GORSE_SHAPE)
        dataset = recorder.dataset
        recorded = recorder.record(sent.events(dataset.user_ids, dataset.item_ids), of_feedback)
        _note(recorded)
        return jsonify(FeedbackAnswer(RowAffected=sum(each.new for each in recorded)).model_dump())

    @app.delete("/ml/user/<any_text:userid>", merge_slashes=False)
    def forget(userid: str) -> Response:
        if len(userid.encode()) > MAX_BYTES:
            raise BadRequestError("userid", f"userid must be {_STRING}.")
        own = read_id("userid", userid, recorder.dataset.user_ids)
        forgotten = recorder.forget(own)
        recommender.forget(own)
        return jsonify(ForgottenAnswer(userid=own, events=forgotten.events, releases=forgotten.releases).model_dump())


def _body() -> bytes:
    request.max_content_length = MAX_EVENTS_BODY
    return request.get_data(cache=False)


def _note(recorded: Sequence[EventRecorded]) -> None:
    records.current().facts |= {"events": len(recorded), "new": sum(each.new for each in recorded)}


def _paths() -> dict[str, Any]:
    """The routes, as OpenAPI describes them."""
    body = {"required": True, "content": json_of(FeedbackList, example=_FEEDBACK)}

    def feedback(method: str) -> dict[str, Any]:
        summary = "Events as Gorse's clients send them"
        return operation(
            f"{method}_feedback", summary, responses(FeedbackAnswer, *_ERRORS, 409), security=KEY, requestBody=body
        )

    return {
        "/ml/event": {
            "post": operation(
                "record",
                "What somebody did with an item: one event, or a list",
                responses(EventsAnswer, *_ERRORS, 409),
                description=(
                    "On disk when acknowledged, and known to the next answer. Where one of a list cannot be what it "
                    "says (400), none is recorded. Where too many are kept of a user (409), none of that user's is, "
                    "and those of the others are. After an error send the same again: what is there already counts "
                    "once."
                ),
                security=KEY,
                requestBody={"required": True, "content": json_of(IncomingEvents, example=_EVENT)},
            )
        },
        "/api/feedback": {method: feedback(method) for method in ("post", "put")},
        "/ml/user/{userid}": {
            "delete": operation(
                "forget",
                "Forget a user: all that was sent, and what the releases have of the user",
                responses(ForgottenAnswer, *_ERRORS),
                security=[{"key": []}],
                parameters=[_USERID],
            )
        },
    }
