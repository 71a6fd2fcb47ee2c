"""Errors of a request, in one JSON shape: {"error": {"code", "message", ...}}; and what is wrong with a body."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flask import Flask, Response, g, request
from pydantic import ValidationError
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    RequestEntityTooLarge,
    SecurityError,
)

from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER
from online.clients.base import ServiceError
from online.recommend import types
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
_DEEPEST = 3  # names and indices of an error's place
EXPECTED: Final = {
    "userid": f"a whole number from 1 to {MAX_INTEGER}, or a string of 1 to {MAX_BYTES} bytes",
    "size": f"a whole number from 1 to {types.MAX_SIZE}",
    "timestamp": f"a whole number of seconds since 1970-01-01 UTC, from 0 to {types.MAX_TIMESTAMP}",
    "explain": 'true, false or "recall"',
    "budget_ms": f"a whole number of milliseconds from {types.MIN_BUDGET_MS} to {types.MAX_BUDGET_MS}",
    "strict": "true or false",
    "release": "a release's id, twelve characters of 0-9 and a-f",
}


def explained(
    error: ValidationError, expected: Mapping[str, str], example: str, shape: str
) -> BadRequestError:
    """The first error of a validation, with the field it is about. Arguments: as of `guard.validated`."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[
        0
    ]
    kind, path, message = first["type"], first["loc"], first["msg"]
    if kind == "json_invalid":
        return BadRequestError(
            BODY, f"The body is not JSON ({message}); expected {shape}, {example}."
        )
    where = f"[{path[0]}]." if path and isinstance(path[0], int) else ""  # of a list
    path = path[1:] if where else path
    if not path:
        whole = f"The body is not as expected: {shape}, {example}"
        said = message.removeprefix("Value error, ") if kind == "value_error" else whole
        return BadRequestError(where[:-1] or BODY, f"{said}.")
    name = str(path[0])
    field = where + name
    if name not in expected:
        shown = field if len(name) <= _SHOWN else field[: len(where) + _SHOWN] + "..."
        return BadRequestError(
            shown,
            f"{shown!r} is not a field of this request; there are: {', '.join(expected)}.",
        )
    if kind == "missing" and len(path) == 1:
        return BadRequestError(field, f"{field} is missing; expected {expected[name]}.")
    inner = field + _place(path[1:])
    if inner != field or kind in (
        "too_long",
        "too_short",
    ):  # which element is wrong, or how many there are
        return BadRequestError(
            inner, f"{inner}: {message}; {field} must be {expected[name]}."
        )
    return BadRequestError(field, f"{field} must be {expected[name]}.")


# names that pydantic adds to the place of an error for a member of a union
_UNION_MEMBER: Final = re.compile(
    r"int|float|str|bool|[A-Z]\w*|.*[\[(].*|constrained-\w+"
)


def _place(path: Sequence[int | str]) -> str:
    """The place of an error within a field, such as ``[0].value``: indices and names, without types."""
    named = [
        part
        for part in path
        if isinstance(part, int) or not _UNION_MEMBER.fullmatch(part)
    ]
    shown = [
        f"[{part}]" if isinstance(part, int) else f".{part[:_SHOWN]}" for part in named
    ]
    return "".join(shown[:_DEEPEST])
