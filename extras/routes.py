"""Routes of the extras: a decorator that serves a view under a path, validates its input, and describes it in OpenAPI.

Also for views of several extras: id checks, errors about attributes, and values that are computed once per release.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import wraps
from threading import Lock
from typing import Any, Final, TypeVar, get_origin
from weakref import WeakKeyDictionary

from flask import Flask, Response, request
from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import MultiDict

from data_exchange_center.dataset import IdKind, OwnId
from online.recommend.loaded_release import Release
from online.recommend.outcomes import BadRequestError, WrongIdError
from online.recommend.types import Answer
from online.web.errors import explained
from online.web.guard import View, validated
from online.web.openapi import KEY, json_of, operation, responses
from online.web.parts import Parts

AnyQuery = TypeVar("AnyQuery", bound=BaseModel)
Made = TypeVar("Made")
_NAMED: Final = 30  # values in an error
_ERRORS: Final = (401, 429, 500, 503)  # of every route
_SHOWN: Final = 40  # characters of what was sent that are echoed


def route(
    app: Flask,
    parts: Parts,
    method: str,
    path: str,
    answer: type[BaseModel],
    *errors: int,
    name: str = "",
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    parse: Callable[[bytes], Any] | None = None,
    example: Any = None,
    shape: str = "a JSON object",
    conflict: str = "",
    merge_slashes: bool | None = None,
    **more: Any,
) -> Callable[[View], View]:
    """Decorate a view: serve it under a path, and describe it by its docstring. The view returns a model, or JSON.

    Args:
        errors: status codes of its errors, besides those of every route (`_ERRORS`) and of what it reads.
        name: of the operation, if not the view's.
        query: read from the URL, and the view's first argument.
        body: read from the request, and the next argument; with an ``example``.
        shape: what a body must be as a whole.
        parse: reads the body as that argument, if not as a ``body``.
        conflict: what a 409 means here.
        merge_slashes: as of Flask's `add_url_rule`.
        more: of the operation: security, parameters.
    """

    def decorate(view: View) -> View:
        operation_id = name or view.__name__
        summary, _, description = (inspect.getdoc(view) or "").partition("\n\n")
        in_path = [
            {
                "name": each,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1},
            }
            for each in re.findall(r"<\w+:(\w+)>", path)
        ]
        details = {
            "description": " ".join(description.split()),
            "security": KEY,
            **more,
            "parameters": [
                *in_path,
                *(parameters(query) if query else ()),
                *more.get("parameters", ()),
            ],
            "requestBody": {"required": True, "content": json_of(body, example=example)}
            if body
            else None,
        }
        statuses = {*_ERRORS, *errors}
        if query is not None:
            statuses.add(400)
        if body is not None:
            statuses |= {400, 408, 411}
        answers = responses(answer, *statuses)
        if conflict:
            answers["409"]["description"] = conflict
        described = operation(
            operation_id,
            summary.rstrip("."),
            answers,
            **{part: content for part, content in details.items() if content},
        )
        shown = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
        models = [
            each
            for each in (answer, body)
            if each is not None and not issubclass(each, Answer)
        ]
        parts.describe(
            {shown: parts.paths.get(shown, {}) | {method.lower(): described}}, models
        )

        @wraps(view)
        def served(**named: str) -> Response:
            given: list[Any] = [parse_query(query, request.args)] if query else []
            if body is not None:
                read = parse or body.model_validate_json
                such_as = f"{shape}, for example {json.dumps(example)}"
                given.append(validated(request.get_data(cache=False), read, such_as))
            found = view(*given, **named)
            content = found if isinstance(found, str) else found.model_dump_json()
            return Response(content, mimetype="application/json")

        app.add_url_rule(
            path, operation_id, served, methods=[method], merge_slashes=merge_slashes
        )
        return view

    return decorate


def parse_query(model: type[AnyQuery], arguments: Mapping[str, str]) -> AnyQuery:
    """Parse a URL's query string, whose values are all text. Raises BadRequestError, which names the field.

    A field that is a list may be given several times, any other one once.
    """
    lists = {
        name
        for name, each in model.model_fields.items()
        if get_origin(each.annotation) is list
    }
    given: dict[str, Any] = {}
    for name, values in MultiDict(arguments).lists():
        if len(values) > 1 and name not in lists:
            raise BadRequestError(
                name[:_SHOWN],
                f"{name[:_SHOWN]!r} is given {len(values)} times; once is meant.",
            )
        given[name] = values if name in lists else values[0]
    try:
        return model.model_validate(given, strict=False)
    except ValidationError as error:
        raise explained(b"{}", error, "parameters in the address") from error


def parameters(query: type[BaseModel], place: str = "query") -> list[dict[str, Any]]:
    """A model's fields as OpenAPI parameters."""
    schema = query.model_json_schema()
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "in": place,
            "required": name in required,
            "description": each["description"],
            "schema": each,
        }
        for name, each in schema["properties"].items()
    ]


def expect_kind(field: str, own: OwnId, kind: IdKind, place: str = "") -> None:
    """Raises WrongIdError for an id, in a ``place`` of a field, that is not of the kind of the release's."""
    if isinstance(own, str) != (kind == "string"):
        what = "a string" if kind == "string" else "a whole number"
        raise WrongIdError(field, f"{field}{place} must be {what} in this release.")


def no_attribute(field: str, name: str, there: Iterable[str]) -> BadRequestError:
    known = ", ".join(sorted(there)) or "none"
    return BadRequestError(
        field, f"Items have no attribute {name[:_SHOWN]!r} here; there are: {known}."
    )


def no_value(field: str, name: str, value: str, there: list[str]) -> BadRequestError:
    """``there``: the known values, of which the most similarly spelled ones are listed."""
    value = value[:_SHOWN]
    if len(there) > _NAMED:
        near = get_close_matches(value, there, _NAMED, 0.4) or there[:_NAMED]
        known = f"among the {len(there)} that there are: {', '.join(near)}"
    else:
        known = f"there are: {', '.join(there)}"
    return BadRequestError(field, f"No item has {value!r} as {name}; {known}.")


def per_release(make: Callable[[Release], Made]) -> Callable[[Release], Made]:
    """Cache a function's value per release, as long as the release is open.

    It is computed on first use, once: others that need it meanwhile wait for it.
    """
    made: WeakKeyDictionary[Release, Made] = WeakKeyDictionary()
    locks: WeakKeyDictionary[Release, Lock] = WeakKeyDictionary()

    @wraps(make)
    def kept(opened: Release) -> Made:
        if (found := made.get(opened)) is None:
            with locks.setdefault(opened, Lock()):
                if (found := made.get(opened)) is None:
                    found = made[opened] = make(opened)
        return found

    return kept
