"""The routes that write: events come in, in this server's own shape and in Gorse's, and users are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flask import Flask, Response, jsonify, request
from werkzeug.routing import BaseConverter

from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER
from extras.events import incoming
from extras.events.compaction import Compaction
from extras.events.description import EVENT_MODELS, EVENTS
from extras.events.incoming import MAX_EVENTS, MAX_NAME, EventError, FeedbackList
from extras.events.log import EventLog, TooManyEventsError
from extras.events.recorder import Recorded, Recorder
from online.recommend.types import MAX_TIMESTAMP, BadRequestError, read_id
from online.web import records
from online.web.asgi import MAX_EVENTS_BODY
from online.web.guard import error_response, open_at_first, validated
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
_EXAMPLE: Final = 'for example {"eventid": "a1", "userid": 1, "itemid": 2858, "type": "rating", "value": 5}'
_SHAPE: Final = f"a JSON object or a list of 1 to {MAX_EVENTS}"
_STRING: Final = f"a string of 1 to {MAX_BYTES} bytes"
_GORSE_EXPECTED: Final = {
    "FeedbackType": _EXPECTED["type"],
    "UserId": _STRING,
    "ItemId": _STRING,
    "Value": _EXPECTED["value"],
    "Timestamp": "a time in ISO 8601, or empty",
}
_GORSE_EXAMPLE: Final = 'for example [{"FeedbackType": "rating", "UserId": "1", "ItemId": "2858", "Value": 5}]'
_GORSE_SHAPE: Final = f"a JSON list of 1 to {MAX_EVENTS} objects"


class AnyText(BaseConverter):
    """A part of a path that may hold anything: slashes, line breaks."""

    regex = r"(?s:.+)"
    part_isolating = False


def register(app: Flask, parts: Parts) -> None:
    """`POST /ml/event`, Gorse's `/api/feedback`, `DELETE /ml/user/<userid>`."""
    recommender = parts.recommender
    log = parts.stores.get("events") or EventLog(parts.settings.redis, Compaction(recommender))
    recorder = Recorder(log, recommender.releases.for_events)
    app.url_map.converters["any_text"] = AnyText
    parts.describe(EVENTS, EVENT_MODELS)

    @app.errorhandler(EventError)
    def wrong_event(error: EventError) -> Response:
        return error_response(400, "bad_request", str(error), field=error.field)

    @app.errorhandler(TooManyEventsError)
    def too_many_events(error: TooManyEventsError) -> Response:
        return error_response(409, "too_many_events", str(error))

    @app.post("/ml/event")
    @open_at_first
    def event() -> Response:
        events = validated(_body(), incoming.parse, _EXPECTED, _EXAMPLE, _SHAPE)
        recorded = recorder.record(events)
        _note(recorded)
        return jsonify({"events": [_told(each) for each in recorded]})

    @app.route("/api/feedback", methods=["POST", "PUT"])
    @open_at_first
    def feedback() -> Response:
        sent = validated(_body(), FeedbackList.model_validate_json, _GORSE_EXPECTED, _GORSE_EXAMPLE, _GORSE_SHAPE)
        dataset = recorder.dataset
        recorded = recorder.record(sent.events(dataset.user_ids, dataset.item_ids))
        _note(recorded)
        return jsonify({"RowAffected": sum(each.is_new for each in recorded)})

    @app.delete("/ml/user/<any_text:userid>", merge_slashes=False)
    def forget(userid: str) -> Response:
        if len(userid.encode()) > MAX_BYTES:
            raise BadRequestError("userid", f"userid must be {_STRING}.")
        own = read_id("userid", userid, recorder.dataset.user_ids)
        forgotten = recorder.forget(own)
        recommender.forget(own)
        return jsonify({"userid": own, "events": forgotten.events, "releases": forgotten.releases})


def _body() -> bytes:
    request.max_content_length = MAX_EVENTS_BODY
    return request.get_data(cache=False)


def _note(recorded: Sequence[Recorded]) -> None:
    records.current().facts |= {"events": len(recorded), "new": sum(each.is_new for each in recorded)}


def _told(recorded: Recorded) -> dict[str, object]:
    return {"eventid": recorded.event.eventid, "new": recorded.is_new, "known_item": recorded.known_item}
