"""Description of one operation of the API, in OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from online.web.answers import ErrorAnswer

REF: Final = "#/components/schemas/{model}"
KEY: Final[list[dict[str, list[str]]]] = [{}, {"key": []}]  # needed where the server wants one
_ERRORS: Final = {
    400: "Bad input, `field` says which; or the request is for another host.",
    401: "A key is needed, and none that is known was sent.",
    403: "Without a key: another web site's page that writes, or a strict request where others reach the server.",
    404: "There is no such path, or no such release.",
    405: "There is no such method here.",
    408: "The body did not arrive in time.",
    409: "Of this user so many events are kept that no more are taken which change what is recommended.",
    411: "The body's length is not said.",
    429: "This client asks too often; `Retry-After` says when to ask again.",
    500: "A fault of the server, which its log has.",
    503: "A service is missing, no release is live, or the server has too much to do.",
}


def json_of(model: type[BaseModel], **more: Any) -> dict[str, Any]:
    """A body, by its model."""
    return {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}, **more}}


def text(what: str, mimetype: str) -> dict[str, Any]:
    """The responses of what is no JSON of ours."""
    schema = {"type": "object"} if mimetype == "application/json" else {"type": "string"}
    return {"200": {"description": what, "content": {mimetype: {"schema": schema}}}, **errors(401, 429, 500)}


def responses(answer: type[BaseModel], *statuses: int) -> dict[str, Any]:
    """An answer, and the errors that there may be instead."""
    said = (answer.__doc__ or "").splitlines()[0]
    return {"200": {"description": said, "content": json_of(answer)}, **errors(*statuses)}


def errors(*statuses: int) -> dict[str, Any]:
    return {str(status): {"description": _ERRORS[status], "content": json_of(ErrorAnswer)} for status in statuses}


def operation(name: str, summary: str, responses: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, **more, "responses": responses}


def parameters(query: type[BaseModel], place: str = "query") -> list[dict[str, Any]]:
    """The fields of a model, as what stands in an address."""
    schema = query.model_json_schema()
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "in": place,
            "required": name in required,
            "description": field["description"],
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]
