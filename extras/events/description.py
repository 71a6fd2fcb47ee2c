"""What writes, as OpenAPI describes it."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from extras.events.answers import EventsAnswer, FeedbackAnswer, ForgottenAnswer
from extras.events.incoming import FeedbackList, IncomingEvents
from online.web.openapi import KEY, json_of, operation, responses

EVENT_MODELS: Final[tuple[type[BaseModel], ...]] = (
    IncomingEvents, FeedbackList, EventsAnswer, FeedbackAnswer, ForgottenAnswer,
)  # fmt: skip
_EVENT: Final = {"eventid": "a1", "userid": 1, "itemid": 2858, "type": "rating", "value": 5}
_FEEDBACK: Final = [{"FeedbackType": "rating", "UserId": "1", "ItemId": "2858", "Value": 5}]
_USERID: Final = {"name": "userid", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_ERRORS: Final = (400, 401, 403, 408, 411, 429, 500, 503)


def _feedback(method: str) -> dict[str, Any]:
    body = {"required": True, "content": json_of(FeedbackList, example=_FEEDBACK)}
    summary = "Events as Gorse's clients send them"
    return operation(
        f"{method}_feedback", summary, responses(FeedbackAnswer, *_ERRORS, 409), security=KEY, requestBody=body
    )


EVENTS: Final[dict[str, Any]] = {
    "/ml/event": {
        "post": operation(
            "record",
            "What somebody did with an item: one event, or a list",
            responses(EventsAnswer, *_ERRORS, 409),
            description=(
                "On disk when acknowledged, and known to the next answer. Where one of a list cannot be what it says "
                "(400), none is recorded. Where too many are kept of a user (409), none of that user's is, and those "
                "of the others are. After an error send the same again: what is there already counts once."
            ),
            security=KEY,
            requestBody={"required": True, "content": json_of(IncomingEvents, example=_EVENT)},
        )
    },
    "/api/feedback": {method: _feedback(method) for method in ("post", "put")},
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
