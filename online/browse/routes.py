"""The read routes that a page needs, and the one by which a release is put live again."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

from online.browse.browse import Browse
from online.browse.queries import Activation, ItemsQuery, MapQuery, UserQuery, UsersQuery
from online.web.body import parse_query


def register_browse(app: Flask, browse: Browse) -> None:
    """`/ml/users`, `/ml/history`, `/ml/items`, `/ml/map`, `/ml/releases`."""

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
