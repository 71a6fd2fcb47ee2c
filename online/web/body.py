"""Parsing of a request's body or address, or one sentence that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER
from data_exchange_center.errors import RecsysError
from online.recommend.types import MAX_BUDGET_MS, MAX_SIZE, MAX_TIMESTAMP, MIN_BUDGET_MS, Request

_BODY = "body"
_SHOWN = 40  # characters of a user's field name that are echoed

EXPECTED: Final = {
    "userid": f"a whole number from 1 to {MAX_INTEGER}, or a string of 1 to {MAX_BYTES} bytes",
    "size": f"a whole number from 1 to {MAX_SIZE}",
    "timestamp": f"a whole number of seconds since 1970-01-01 UTC, from 0 to {MAX_TIMESTAMP}",
    "explain": 'true, false or "recall"',
    "budget_ms": f"a whole number of milliseconds from {MIN_BUDGET_MS} to {MAX_BUDGET_MS}",
    "strict": "true or false",
    "release": "a release's id, twelve characters of 0-9 and a-f",
}
_EXAMPLE = 'for example {"userid": 1, "size": 50}'
Parsed = TypeVar("Parsed")
AnyQuery = TypeVar("AnyQuery", bound=BaseModel)


class BadRequestError(RecsysError):
    """The request cannot be understood.

    Attributes:
        field: which part of it: one of the request's fields, an unknown field's name, or ``body`` for the whole.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def parse(body: bytes, model: type[Request], expected: Mapping[str, str]) -> Request:
    """Read a request. Raises BadRequestError. The Content-Type is ignored, so that a plain `curl -d` works.

    ``expected``: as `validated`.
    """
    return validated(body, model.model_validate_json, expected, _EXAMPLE)


def validated(
    body: bytes,
    validate: Callable[[bytes], Parsed],
    expected: Mapping[str, str],
    example: str,
    shape: str = "a JSON object",
) -> Parsed:
    """Parse a body by ``validate``. Raises BadRequestError.

    ``expected``: what each field must be; ``example``: of a body, and ``shape``: what it must be as a whole.
    """
    if not body.strip():
        raise BadRequestError(_BODY, f"The body is empty; expected {shape}, {example}.")
    try:
        return validate(body)
    except ValidationError as error:
        raise _explained(error, expected, example, shape) from error


def parse_query(model: type[AnyQuery], arguments: Mapping[str, str]) -> AnyQuery:
    """Parse the query of an address, whose values are all text. Raises BadRequestError, which names the field."""
    try:
        return model.model_validate(dict(arguments), strict=False)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = str(problem["loc"][0])
        known = model.model_fields.get(field)
        if known is None:
            there = ", ".join(model.model_fields)
            raise BadRequestError(
                field[:_SHOWN], f"There is no {field[:_SHOWN]!r} here; there are: {there}."
            ) from error
        what = "is missing; expected" if problem["type"] == "missing" else "must be"
        raise BadRequestError(field, f"{field} {what} {known.description or problem['msg']}.") from error


def _explained(error: ValidationError, expected: Mapping[str, str], example: str, shape: str) -> BadRequestError:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, path = problem["type"], problem["loc"]
    if kind == "json_invalid":
        return BadRequestError(_BODY, f"The body is not JSON ({problem['msg']}); expected {shape}, {example}.")
    where = f"[{path[0]}]." if path and isinstance(path[0], int) else ""  # of a list
    path = path[1:] if where else path
    if not path and kind == "value_error":  # of the whole, in a sentence of its own
        return BadRequestError(where[:-1] or _BODY, f"{problem['msg'].removeprefix('Value error, ')}.")
    if not path:
        return BadRequestError(where[:-1] or _BODY, f"The body is not as expected: {shape}, {example}.")
    name = str(path[0])
    field = where + name
    if kind == "missing":
        return BadRequestError(field, f"{field} is missing; expected {expected[name]}.")
    if name not in expected:
        shown = field if len(name) <= _SHOWN else field[: len(where) + _SHOWN] + "..."
        return BadRequestError(shown, f"{shown!r} is not a field of this request; there are: {', '.join(expected)}.")
    return BadRequestError(field, f"{field} must be {expected[name]}.")
