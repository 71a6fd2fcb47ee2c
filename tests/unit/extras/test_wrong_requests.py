from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extras.questions.where import MAX_IDS
from tests.unit.extras.document import conforms
from tests.unit.extras.questions.asking import USER, ask
from tests.unit.online.world import UNKNOWN_USER, DefaultWorld

pytestmark = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
DIVERSITIES = ("2", "-0.1", "x", "nan", "1e9", "", "0.1.2")


@pytest.mark.parametrize(
    ("path", "field", "says"),
    [
        ("/ml/users?size=101", "size", "size"),
        ("/ml/users?fewest=maybe", "fewest", "fewest"),
        ("/ml/users?order=any", "order", "order"),
        ("/ml/history", "userid", "userid"),
        ("/ml/history?userid=one", "userid", "userid"),
        ("/ml/history?userid=%C2%B2", "userid", "userid"),
        ("/ml/items?q=" + "x" * 101, "q", "q"),
        ("/ml/items?q=a&release=A", "release", ""),
        ("/ml/why-not?userid=1", "itemid", "itemid"),
        ("/ml/why-not?userid=&itemid=1", "userid", "userid"),
        ("/ml/why-not?userid=1&itemid=x", "itemid", "itemid"),
        ("/ml/why-not?userid=0&itemid=1", "userid", "userid"),
        ("/ml/why-not?userid=1&itemid=1&size=fifty", "size", "size"),
        ("/ml/why-not?userid=1&itemid=1&timestamp=-1", "timestamp", "timestamp"),
        ("/ml/why-not?userid=1&itemid=1&explain=true", "explain", "explain"),
        *(
            (
                f"/ml/why-not?userid=8&itemid=4&diversity={text}",
                "diversity",
                "from 0 to 1",
            )
            for text in DIVERSITIES
        ),
        ("/ml/similar", "itemid", "itemid is missing; expected 1 to 20 ids"),
        ("/ml/similar?itemid=x", "itemid", "itemid must be a whole number"),
        ("/ml/similar?itemid=999999", "itemid", "This release has no item 999999."),
        (
            "/ml/similar?" + "&".join(["itemid=4"] * 21),
            "itemid",
            "itemid must be 1 to 20 ids",
        ),
        (
            "/ml/similar?itemid=4&size=201",
            "size",
            "size must be a whole number from 1 to 200",
        ),
        ("/ml/similar?itemid=4&size=2&size=3", "size", "'size' is given 2 times"),
        (
            "/ml/similar?itemid=4&like=5",
            "like",
            "There is no 'like' here; there are: itemid, size.",
        ),
        ("/api/recommend/bob", "userid", ""),
        ("/api/recommend/1?n=0", "n", ""),
        ("/api/recommend/1/Comedy", "category", "Comedy"),
        ("/api/recommend/1?n=150&offset=51", "offset", ""),
        ("/api/popular?offset=-1", "offset", ""),
        ("/api/recommend/1?write-back-type=read", "write-back-type", ""),
        ("/api/item/99999999/neighbors", "itemid", ""),
        ("/api/item/4/neighbors?n=x", "n", ""),
    ],
)
def test_an_address(http: FlaskClient, path: str, field: str, says: str) -> None:
    response = http.get(path)
    assert response.status_code == 400, response.text
    conforms(response.json, "ErrorAnswer")
    assert response.json["error"]["field"] == field
    assert says in response.json["error"]["message"]


IDS = "candidates must be a list of 1 to 1,000 item ids"
LIKED = {"itemid": 4, "value": 5}
RANK: dict[str, tuple[dict[str, Any], str, str]] = {
    "none": ({"candidates": []}, "candidates", IDS),
    "too many": ({"candidates": list(range(1, 1002))}, "candidates", IDS),
    "kind": (
        {"candidates": [1, "1"]},
        "candidates",
        "candidates[1] must be a whole number in this release.",
    ),
    "size": (
        {"candidates": [1], "size": 1001},
        "size",
        "size must be a whole number from 1 to 1000.",
    ),
    "nobody": ({"candidates": [1], "userid": None}, "userid", "or a history"),
}
HISTORY: dict[str, tuple[dict[str, Any], str, str]] = {
    "neither": (
        {},
        "userid",
        "userid is missing; expected a whole number from 1 to 2147483647, or a string",
    ),
    "type": (
        {"history": [{"itemid": 4, "type": "x"}]},
        "history[0].type",
        "must be one of: click, hide, rating",
    ),
    "value": (
        {"history": [{"itemid": 4, "value": 9}]},
        "history[0].value",
        "must be one of 1, 2, 3, 4, 5",
    ),
    "no value": (
        {"history": [LIKED, {"itemid": 4}]},
        "history[1].value",
        "must be one of",
    ),
    "future": (
        {"history": [{**LIKED, "timestamp": 2**32 - 1}]},
        "history[0].timestamp",
        "future",
    ),
    "too many": ({"history": [LIKED] * 501}, "history", "501"),
    "no list": ({"history": {"itemid": 4}}, "history", "history must be a list"),
    "null": ({"history": None}, "history", "history must be a list"),
    "another field": (
        {"history": [{"itemid": 4, "rating": 5}]},
        "history[0].rating",
        "history must be a list",
    ),
    "no itemid": (
        {"history": [LIKED, {"value": 5}]},
        "history[1].itemid",
        "history must be a list",
    ),
    "a wrong itemid": (
        {"history": [{"itemid": True, "value": 5}]},
        "history[0].itemid",
        "history must be a list",
    ),
}
WHERE: dict[str, tuple[dict[str, Any], str, str]] = {
    "attribute": (
        {"where": {"genre": ["Comedy"]}},
        "where",
        "no attribute 'genre' here; there are: genres.",
    ),
    "value": (
        {"where": {"genres": ["Comdy"]}},
        "where",
        "'Comdy' as genres; there are: Action, Adventure, Comedy",
    ),
    "number": (
        {"where": {"genres": {"none": [3]}}},
        "where",
        "No item has '3' as genres",
    ),
    "no order": ({"where": {"genres": {"gte": 3}}}, "where", "use any, all or none"),
    "condition": (
        {"where": {"genres": {"some": ["Drama"]}}},
        "where.genres.some",
        "where must be an object",
    ),
    "nothing": ({"where": {"genres": []}}, "where.genres", "where must be an object"),
    "too many values": (
        {"where": {"genres": ["Drama"] * 101}},
        "where.genres",
        "at most 100 items",
    ),
    "too many": ({"exclude": list(range(1, MAX_IDS + 2))}, "exclude", f"{MAX_IDS + 1}"),
    "a wrong id": ({"exclude": [1, 2, True]}, "exclude[2]", "exclude must be a list"),
    "kind": (
        {"only": [1, "1"]},
        "only",
        "only[1] must be a whole number in this release.",
    ),
    "no id": ({"exclude": [0]}, "exclude[0]", "a list of at most"),
}


@pytest.mark.parametrize(
    ("path", "body", "field", "says"),
    [
        *(
            pytest.param("/ml/rank", *each, id=f"rank: {name}")
            for name, each in RANK.items()
        ),
        *(
            pytest.param(
                "/ml/rec", {"userid": None, **body}, *each, id=f"history: {name}"
            )
            for name, (body, *each) in HISTORY.items()
        ),
        *(
            pytest.param(
                "/ml/rec",
                {"userid": userid, **body},
                *each,
                id=f"where: {name} {userid}",
            )
            for userid in (USER, UNKNOWN_USER)
            for name, (body, *each) in WHERE.items()
        ),
    ],
)
def test_a_body(
    http: FlaskClient, path: str, body: dict[str, Any], field: str, says: str
) -> None:
    error = ask(http, 400, path, **body)["error"]
    assert error["field"] == field
    assert says in error["message"]
