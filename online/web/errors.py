"""Errors of a request, in one JSON shape: {"error": {"code", "message", ...}}; and what is wrong with a body."""

import logging
import re
from collections.abc import Sequence
from typing import Any, Final

from flask import Flask, Response, g, request
from pydantic import ValidationError
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    RequestEntityTooLarge,
    SecurityError,
)

from online.clients.base import ServiceError
from online.recommend.outcomes import (
    BadRequestError,
    LoadingError,
    NoReleaseError,
    UnknownReleaseError,
)
from online.web.asgi import BODY_TOO_LARGE, error_body

log = logging.getLogger(__name__)

BODY: Final = "body"
_KEPT = (
    "Allow",
    "WWW-Authenticate",
)  # headers: which methods there are; that a key is needed


def error_response(status: int, code: str, message: str, **more: Any) -> Response:
    """The response of an error. ``more``: ``field`` or ``service``."""
    record = g.record
    record.outcome = code
    record.facts |= more
    return Response(
        error_body(code, message, **more), status, mimetype="application/json"
    )


def register_errors(app: Flask) -> None:
    """Turn exceptions of the recommender and Flask into JSON errors; any other is a 500 without details."""

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        match error:
            case BadRequestError():
                return error_response(400, "bad_request", str(error), field=error.field)
            case UnknownReleaseError():
                return error_response(
                    404, "unknown_release", str(error), field="release"
                )
            case ServiceError(service=service, what=what):
                return error_response(
                    503, "service_unavailable", f"{service} {what}.", service=service
                )
            case NoReleaseError():
                code = (
                    "release_opening"
                    if isinstance(error, LoadingError)
                    else "no_release"
                )
                response = error_response(503, code, str(error))
                response.headers["Retry-After"] = "1"
                return response
            case RequestEntityTooLarge():
                return error_response(413, "body_too_large", BODY_TOO_LARGE, field=BODY)
            case SecurityError():
                said = "The request's Host is not a name of this server; RECSYS_SERVER__ALLOWED_HOSTS lists its names."
                return error_response(400, "unknown_host", said)
            case ClientDisconnected() | HTTPException(code=400):
                return error_response(
                    400,
                    "bad_request",
                    "The body could not be read to its end.",
                    field=BODY,
                )
            case HTTPException():
                code = error.name.lower().replace(" ", "_")
                headers = dict(error.get_headers(request.environ))
                said = (error.description or "") + (
                    f" Allowed: {headers['Allow']}." if "Allow" in headers else ""
                )
                response = error_response(error.code or 500, code, said)
                response.headers.extend(
                    (name, headers[name]) for name in _KEPT if name in headers
                )
                return response
        log.error("unexpected error in request %s", g.record.id, exc_info=error)
        return error_response(
            500, "internal_error", "Internal error; see the log for this request id."
        )


_SHOWN = 40  # characters of a user's field name that are echoed


def explained(
    body: bytes,
    error: ValidationError,
    shape: str = 'a JSON object, for example {"userid": 1, "size": 50}',
) -> BadRequestError:
    """The first error of a body's validation: its field, and what pydantic says of it.

    ``shape``: what the body must be as a whole.
    """
    if not body.strip():
        return BadRequestError(BODY, f"The body is empty; expected {shape}.")
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    first = errors[0]
    if first["type"] == "json_invalid":
        return BadRequestError(
            BODY, f"The body is not JSON ({first['msg']}); expected {shape}."
        )
    field = _place(first["loc"])
    # a union has an error for each of its members
    said = dict.fromkeys(
        each["msg"].removeprefix("Value error, ")
        for each in errors
        if _place(each["loc"]) == field
    )
    expected = "" if field else f"; expected {shape}"
    return BadRequestError(
        field or BODY, f"{field or BODY}: {'; '.join(said)}{expected}."
    )


# names that pydantic adds to the place of an error for a member of a union
_UNION_MEMBER: Final = re.compile(
    r"int|float|str|bool|[A-Z]\w*|.*[\[(].*|constrained-\w+"
)


def _place(path: Sequence[int | str]) -> str:
    """The place of an error, such as ``[0].history[2].value``: indices and names, without types."""
    shown = ""
    named = False
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif not named or not _UNION_MEMBER.fullmatch(part):
            dot = "." if shown else ""
            cut_off = "..." if len(part) > _SHOWN else ""
            shown += f"{dot}{part[:_SHOWN]}{cut_off}"
            named = True
    return shown
