"""The API's description: `/openapi.json`, made of the models that check requests, and a page to read it, `/docs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flask import Blueprint, Flask, Response, jsonify, make_response, render_template
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from data_exchange_center import VERSION
from online.recommend.types import Answer, Request
from online.web.answers import Alive, ErrorAnswer, Ready
from online.web.operations import KEY, REF, json_of, operation, responses, text

DESCRIPTION_PATH: Final = "/openapi.json"
PAGE_PATH: Final = "/docs"
# The page's own style and script, the server it came from, and nothing else.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_EXAMPLE: Final = {"userid": 1, "size": 5}


def description(
    request: type[Request], answer: type[Answer], paths: Mapping[str, Any], models: Sequence[type[BaseModel]]
) -> dict[str, Any]:
    """The document, in OpenAPI 3.1.

    ``request``, ``answer``: with the fields of extras; ``paths``, ``models``: theirs alone.
    """
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
                    "security": KEY,
                    "requestBody": {"required": True, "content": json_of(request, example=_EXAMPLE)},
                    "responses": responses(answer, 400, 401, 403, 404, 408, 411, 429, 500, 503),
                }
            },
            "/healthz": {"get": operation("alive", "Whether this process runs", responses(Alive, 500))},
            "/readyz": {
                "get": operation(
                    "ready",
                    "Whether the server could answer now, and each service's version",
                    responses(Ready, 500) | {"503": {"description": "It could not.", "content": json_of(Ready)}},
                )
            },
            **paths,
            "/metrics": {
                "get": operation(
                    "metrics",
                    "Numbers for Prometheus",
                    text("Prometheus's text format.", "text/plain"),
                    security=KEY,
                )
            },
            DESCRIPTION_PATH: {
                "get": operation("describe", "This description", text("OpenAPI 3.1.", "application/json"))
            },
            PAGE_PATH: {"get": operation("read", "This description, to be read", text("A page.", "text/html"))},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas((request, answer, ErrorAnswer, Alive, Ready, *models)),
        },
    }


def _schemas(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Schemas of requests as they are checked, of answers as they are written."""
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template=REF)
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def register_description(app: Flask, content: Mapping[str, Any]) -> None:
    """Serve the document, which `description` makes, and the page."""
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
