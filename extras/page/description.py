"""What can be looked up, as OpenAPI describes it."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from extras.page.answers import Activated, ItemMap, Items, KeptReleases, UserHistory, Users
from extras.page.queries import Activation, ItemsQuery, MapQuery, UserQuery, UsersQuery
from online.web.openapi import KEY, operation, parameters, responses, text

BROWSE_ANSWERS: Final[tuple[type[BaseModel], ...]] = (Users, UserHistory, Items, ItemMap, KeptReleases, Activated)


def _lookup(name: str, summary: str, query: type[BaseModel] | None, answer: type[BaseModel]) -> dict[str, Any]:
    given = {"parameters": parameters(query)} if query else {}
    return {"get": operation(name, summary, responses(answer, 400, 401, 404, 429, 500, 503), security=KEY, **given)}


BROWSE: Final[dict[str, Any]] = {
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
