"""The page for people, the read routes that it needs, and the one by which a release is put live again.

The page's files are as they are: they need no build and no other server.
"""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Flask, Response, jsonify, request

from extras.page.browse import Browse
from extras.page.description import BROWSE, BROWSE_ANSWERS
from extras.page.queries import Activation, ItemsQuery, MapQuery, UserQuery, UsersQuery
from online.web.guard import parse_query
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
    parts.describe(BROWSE, BROWSE_ANSWERS)
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
        return jsonify(browse.users(parse_query(UsersQuery, request.args)))

    @app.get("/ml/history")
    def history() -> Response:
        return jsonify(browse.history(parse_query(UserQuery, request.args)))

    @app.get("/ml/items")
    def items() -> Response:
        return jsonify(browse.items(parse_query(ItemsQuery, request.args)))

    @app.get("/ml/map")
    def item_map() -> Response:
        return Response(browse.item_map(parse_query(MapQuery, request.args)), mimetype="application/json")

    @app.get("/ml/releases")
    def releases() -> Response:
        return jsonify(browse.releases())

    @app.post("/ml/releases/<release>/activate")
    def activate(release: str) -> Response:
        return jsonify(browse.activate(parse_query(Activation, {"release": release}).release))
