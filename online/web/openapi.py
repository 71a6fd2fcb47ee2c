"""The API's description: `/openapi.json`, made of the models that check requests and are returned, and `/docs`.

flask-openapi3, apiflask and spectree do not fit: they read a view's models when it is decorated, while extras add
fields to a request and its answer later, and they need a body's Content-Type, which is ignored here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flask import Blueprint, Flask, Response, jsonify, make_response, render_template
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from data_exchange_center import VERSION
from online.recommend.readiness import Ready
from online.recommend.types import Answer, Request
from online.web.asgi import ErrorAnswer

DESCRIPTION_PATH: Final = "/openapi.json"
PAGE_PATH: Final = "/docs"
REF: Final = "#/components/schemas/{model}"
KEY: Final[list[dict[str, list[str]]]] = [
    {},
    {"key": []},
]  # needed where the server wants one
# The page's own style and script, the server it came from, and nothing else.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ERRORS: Final = {
    400: "Bad input, `field` says which; or the request is for another host.",
    401: "An API key is needed.",
    403: (
        "The key lacks the scope; or, without a key, a page of another web site writes, or a request to an open server "
        "is strict or has a larger budget than the server's own."
    ),
    404: "There is no such path, or no such release.",
    405: "The path does not have this method.",
    408: "The body did not arrive in time.",
    409: "The user has the maximum of events that change what is recommended: no more of them are recorded.",
    411: "The header `Content-Length` is missing.",
    413: "The body is too large.",
    429: "Rate limit exceeded; retry after `Retry-After` seconds.",
    500: "An error in the server: see its log.",
    503: "A service is missing, no release is live, or the server is overloaded.",
}

_IMPLIES: Final = {
    401: 403,
    411: 413,
}  # a key may lack the scope; a body may be too large


class Alive(BaseModel):
    """This process runs."""

    alive: bool


def register_description(app: Flask, content: Mapping[str, Any]) -> None:
    """Serve the document, which `description` makes, and the page that shows it."""
    pages = Blueprint("description", __name__, template_folder="templates")

    pages.add_url_rule(DESCRIPTION_PATH, "openapi", lambda: jsonify(content))

    @pages.get(PAGE_PATH)
    def docs() -> Response:
        response = make_response(
            render_template(
                "docs.html", api=content, schemas=content["components"]["schemas"]
            )
        )
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    app.register_blueprint(pages)


def description(
    request: type[Request],
    answer: type[Answer],
    paths: Mapping[str, Any],
    models: Sequence[type[BaseModel]],
) -> dict[str, Any]:
    """Build the OpenAPI 3.1 document.

    ``request``, ``answer``: models with the fields of extras; ``paths``, ``models``: those that extras add.
    """
    every: list[type[BaseModel]] = [request, answer, ErrorAnswer, Alive, Ready, *models]
    _, schemas = models_json_schema(
        [(model, "validation") for model in every], ref_template=REF
    )
    recommend = operation(
        "recommend",
        "The best items that a user has not seen",
        responses(answer, 400, 401, 404, 408, 411, 429, 500, 503),
        description="The Content-Type is ignored; the body is read as JSON.",
        security=KEY,
        requestBody={
            "required": True,
            "content": json_of(request, example={"userid": 1, "size": 5}),
        },
    )
    alive = operation("alive", "Whether this process runs", responses(Alive, 500))
    unready = {"503": {"description": "It could not.", "content": json_of(Ready)}}
    ready_says = "Whether the server could answer now, and each service's version"
    ready = operation("ready", ready_says, responses(Ready, 500) | unready)
    itself = responses("OpenAPI 3.1.", 401, 429, 500, mimetype="application/json")
    describe = operation("describe", "This description", itself)
    read = operation(
        "read", "This description, to be read", responses("A page.", 401, 429, 500)
    )
    about = "Recommendations by Redis, Elasticsearch, Feast and Triton. Every error has one shape."
    return {
        "openapi": "3.1.0",
        "info": {"title": "recsys_pipeline", "version": VERSION, "description": about},
        "paths": {
            "/ml/rec": {"post": recommend},
            "/healthz": {"get": alive},
            "/readyz": {"get": ready},
            **paths,
            DESCRIPTION_PATH: {"get": describe},
            PAGE_PATH: {"get": read},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas["$defs"],
        },
    }


def operation(
    name: str, summary: str, responses: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, **more, "responses": responses}


def responses(
    answer: type[BaseModel] | str, *statuses: int, mimetype: str = "text/html"
) -> dict[str, Any]:
    """An answer, by its model, or in words with its ``mimetype``; and the errors that there may be instead."""
    if isinstance(answer, str):
        schema = {"type": "object" if mimetype == "application/json" else "string"}
        good = {"description": answer, "content": {mimetype: {"schema": schema}}}
    else:
        good = {
            "description": (answer.__doc__ or "").splitlines()[0],
            "content": json_of(answer),
        }
    every = sorted(
        {*statuses, *(_IMPLIES[status] for status in statuses if status in _IMPLIES)}
    )
    errors = {
        str(status): {"description": _ERRORS[status], "content": json_of(ErrorAnswer)}
        for status in every
    }
    return {"200": good, **errors}


def json_of(model: type[BaseModel], **more: Any) -> dict[str, Any]:
    """A body, by its model."""
    return {
        "application/json": {
            "schema": {"$ref": REF.format(model=model.__name__)},
            **more,
        }
    }
