"""A request's body, parsed into a `Request`, or one sentence that says what is wrong with it."""

from __future__ import annotations

from pydantic import ValidationError

from data_exchange_center.errors import RecsysError
from data_exchange_center.own_ids import MAX_BYTES, MAX_INTEGER
from online.recommend.types import MAX_BUDGET_MS, MAX_SIZE, MAX_TIMESTAMP, MIN_BUDGET_MS, Request

_BODY = "body"
_SHOWN = 40  # characters of a user's field name that are echoed

_EXPECTED = {
    "userid": f"a whole number from 1 to {MAX_INTEGER}, or a string of 1 to {MAX_BYTES} bytes",
    "size": f"a whole number from 1 to {MAX_SIZE}",
    "timestamp": f"a whole number of seconds since 1970-01-01 UTC, from 0 to {MAX_TIMESTAMP}",
    "explain": "true or false",
    "budget_ms": f"a whole number of milliseconds from {MIN_BUDGET_MS} to {MAX_BUDGET_MS}",
    "strict": "true or false",
}
_EXAMPLE = 'for example {"userid": 1, "size": 50}'


class BadRequestError(RecsysError):
    """The request cannot be understood.

    Attributes:
        field: which part of it: one of the request's fields, an unknown field's name, or ``body`` for the whole.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def parse(body: bytes) -> Request:
    """Raises BadRequestError. The Content-Type is ignored, so that a plain `curl -d` works."""
    if not body.strip():
        raise BadRequestError(_BODY, f"The body is empty; expected a JSON object, {_EXAMPLE}.")
    try:
        return Request.model_validate_json(body)
    except ValidationError as error:
        raise _explained(error) from error


def _explained(error: ValidationError) -> BadRequestError:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, path = problem["type"], problem["loc"]
    if kind == "json_invalid":
        return BadRequestError(_BODY, f"The body is not JSON ({problem['msg']}); expected an object, {_EXAMPLE}.")
    if not path:
        return BadRequestError(_BODY, f"The body is not a JSON object; expected one, {_EXAMPLE}.")
    field = str(path[0])
    if kind == "missing":
        return BadRequestError(field, f"{field} is missing; expected {_EXPECTED[field]}.")
    if field not in _EXPECTED:
        shown = field if len(field) <= _SHOWN else field[:_SHOWN] + "..."
        return BadRequestError(shown, f"{shown!r} is not a field of this request; there are: {', '.join(_EXPECTED)}.")
    return BadRequestError(field, f"{field} must be {_EXPECTED[field]}.")
