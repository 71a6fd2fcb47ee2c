"""The API's description: `/openapi.json`, made of the models that check requests, and a page to read it, `/docs`."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Flask, Response, jsonify, make_response, render_template
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from data_exchange_center import VERSION
from online.explain.shapes import WhyNot
from online.recommend.types import Request, WhyNotRequest
from online.web.answers import Alive, Answer, ErrorAnswer, Ready

DESCRIPTION_PATH: Final = "/openapi.json"
PAGE_PATH: Final = "/docs"
WHY_NOT_PATH: Final = "/ml/why-not"
_REF: Final = "#/components/schemas/{model}"
# The page's own style and script, the server it came from, and nothing else.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_ERRORS: Final = {
    400: "Bad input; `field` says which.",
    401: "A key is needed, and none that is known was sent.",
    404: "There is no such path.",
    405: "There is no such method here.",
    408: "The request did not arrive in time.",
    411: "The body's length is not said.",
    414: "The request's line is too long.",
    429: "This client asks too often; `Retry-After` says when to ask again.",
    431: "The request's headers are too large.",
    500: "A fault of the server, which its log has.",
    503: "A service is missing, no release is live, or the server has too much to do.",
}
_EXAMPLE: Final = {"userid": 1, "size": 5}


def description() -> dict[str, Any]:
    """The document, in OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "recsys_pipeline",
            "version": VERSION,
            "description": "Recommendations by Redis, Elasticsearch, Feast and Triton. Every error has one shape.",
        },
        "paths": {
            "/ml/rec": {
                "post": {
                    "operationId": "recommend",
                    "summary": "The best items that a user has not seen",
                    "description": "The Content-Type is ignored; the body is read as JSON.",
                    "security": [{}, {"key": []}],
                    "requestBody": {"required": True, "content": _json(Request, example=_EXAMPLE)},
                    "responses": _responses(Answer, 400, 401, 408, 411, 429, 431, 500, 503),
                }
            },
            WHY_NOT_PATH: {
                "get": {
                    "operationId": "why_not",
                    "summary": "Why an item is not in a user's list",
                    "description": "The list is made as for /ml/rec, strictly: without a service there is no answer.",
                    "security": [{}, {"key": []}],
                    "parameters": _parameters(WhyNotRequest),
                    "responses": _responses(WhyNot, 400, 401, 408, 414, 429, 431, 500, 503),
                }
            },
            "/healthz": {"get": _operation("alive", "Whether this process runs", _responses(Alive, 500))},
            "/readyz": {
                "get": _operation(
                    "ready",
                    "Whether the server could answer now, and each service's version",
                    _responses(Ready, 500) | {"503": {"description": "It could not.", "content": _json(Ready)}},
                )
            },
            "/metrics": {
                "get": {
                    **_operation("metrics", "Numbers for Prometheus", _text("Prometheus's text format.", "text/plain")),
                    "security": [{}, {"key": []}],
                }
            },
            DESCRIPTION_PATH: {
                "get": _operation("describe", "This description", _text("OpenAPI 3.1.", "application/json"))
            },
            PAGE_PATH: {"get": _operation("read", "This description, to be read", _text("A page.", "text/html"))},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


def _parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Of an address."""
    schema = model.model_json_schema()
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "description": field["description"],
            "required": name in required,
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]


def _schemas() -> dict[str, Any]:
    """Of a request as it is checked, of answers as they are written."""
    models = [
        (Request, "validation"),
        *((model, "validation") for model in (Answer, WhyNot, ErrorAnswer, Alive, Ready)),
    ]
    _, schema = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _json(model: type[BaseModel], **more: Any) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}, **more}}


def _text(what: str, mimetype: str) -> dict[str, Any]:
    schema = {"type": "object"} if mimetype == "application/json" else {"type": "string"}
    return {"200": {"description": what, "content": {mimetype: {"schema": schema}}}, **_errors(401, 429, 500)}


def _responses(answer: type[BaseModel], *errors: int) -> dict[str, Any]:
    said = (answer.__doc__ or "").splitlines()[0]
    return {"200": {"description": said, "content": _json(answer)}, **_errors(*errors)}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): {"description": _ERRORS[status], "content": _json(ErrorAnswer)} for status in statuses}


def _operation(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "responses": responses}


def register_description(app: Flask) -> None:
    """Serve the document and the page."""
    content = description()
    pages = Blueprint("description", __name__, template_folder="templates")

    @pages.get(DESCRIPTION_PATH)
    def openapi() -> Response:
        return jsonify(content)

    @pages.get(PAGE_PATH)
    def docs() -> Response:
        response = make_response(render_template("docs.html", api=content, schemas=content["components"]["schemas"]))
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    app.register_blueprint(pages)
