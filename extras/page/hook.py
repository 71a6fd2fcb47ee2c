"""The page for people, the read routes that it needs, and the one by which a release is put live again.

The page's files are as they are: they need no build and no other server.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Flask, Response, request
from pydantic import BaseModel

from extras.page.browse import (
    Activated,
    Activation,
    Browse,
    ItemMap,
    Items,
    ItemsQuery,
    KeptReleases,
    MapQuery,
    UserHistory,
    UserQuery,
    Users,
    UsersQuery,
)
from online.web.guard import parse_query
from online.web.openapi import KEY, operation, parameters, responses, text
from online.web.parts import Parts

FILES_PATH: Final = "/page"
# The page's own files, the server it came from, and nothing else.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def register(app: Flask, parts: Parts) -> None:
    """`/` and its files; `/ml/users`, `/ml/history`, `/ml/items`, `/ml/map`, `/ml/releases`."""
    browse = Browse(parts.recommender)
    parts.describe(_paths(), [Users, UserHistory, Items, ItemMap, KeptReleases, Activated])
    page = Blueprint("page", __name__, static_folder="static", static_url_path=FILES_PATH)

    @page.get("/")
    def index() -> Response:
        return page.send_static_file("index.html")

    @page.after_request
    def guarded(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    app.register_blueprint(page)

    @app.get("/ml/users")
    def users() -> Response:
        return _json(browse.users(parse_query(UsersQuery, request.args)))

    @app.get("/ml/history")
    def history() -> Response:
        return _json(browse.history(parse_query(UserQuery, request.args)))

    @app.get("/ml/items")
    def items() -> Response:
        return _json(browse.items(parse_query(ItemsQuery, request.args)))

    @app.get("/ml/map")
    def item_map() -> Response:
        return Response(browse.item_map(parse_query(MapQuery, request.args)), mimetype="application/json")

    @app.get("/ml/releases")
    def releases() -> Response:
        return _json(browse.releases())

    @app.post("/ml/releases/<release>/activate")
    def activate(release: str) -> Response:
        return _json(browse.activate(parse_query(Activation, {"release": release}).release))


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), mimetype="application/json")


def _paths() -> dict[str, Any]:
    """The routes, as OpenAPI describes them."""
    return {
        "/": {"get": operation("page", "The page for people", text("A page.", "text/html"))},
        "/ml/users": _lookup("users", "Users to choose from, with the number of their events", UsersQuery, Users),
        "/ml/history": _lookup("history", "What a user has done, newest first", UserQuery, UserHistory),
        "/ml/items": _lookup("items", "Items by words of their titles", ItemsQuery, Items),
        "/ml/map": _lookup("map", "Items on a plane, by their vectors", MapQuery, ItemMap),
        "/ml/releases": _lookup("releases", "The releases that a request can name", None, KeptReleases),
        "/ml/releases/{release}/activate": {
            "post": operation(
                "activate",
                "Serve an earlier release again, once it has answered through all services",
                responses(Activated, 400, 401, 404, 411, 429, 500, 503),
                parameters=parameters(Activation, "path"),
                security=[{"key": []}],
            )
        },
    }


def _lookup(name: str, summary: str, query: type[BaseModel] | None, answer: type[BaseModel]) -> dict[str, Any]:
    given = {"parameters": parameters(query)} if query else {}
    return {"get": operation(name, summary, responses(answer, 400, 401, 404, 429, 500, 503), security=KEY, **given)}
