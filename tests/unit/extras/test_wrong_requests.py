from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extras.questions.where import MAX_IDS
from tests.unit.extras.asking import USER, ask, conforms
from tests.unit.online.world import UNKNOWN_USER

DIVERSITIES = ("2", "-0.1", "nan", "")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/ml/users?size=101", "size"),
        ("/ml/history", "userid"),
        ("/ml/history?userid=%C2%B2", "userid"),
        ("/ml/items?q=" + "x" * 101, "q"),
        ("/ml/items?q=a&release=A", "release"),
        ("/ml/why-not?userid=&itemid=1", "userid"),
        ("/ml/why-not?userid=1&itemid=x", "itemid"),
        ("/ml/why-not?userid=1&itemid=1&size=fifty", "size"),
        *(
            (f"/ml/why-not?userid=8&itemid=4&diversity={text}", "diversity")
            for text in DIVERSITIES
        ),
        ("/ml/similar?itemid=999999", "itemid"),
        ("/ml/similar?" + "&".join(["itemid=4"] * 21), "itemid"),
        ("/ml/similar?itemid=4&size=201", "size"),
        ("/ml/similar?itemid=4&size=2&size=3", "size"),
        ("/api/recommend/bob", "userid"),
        ("/api/recommend/1/Comedy", "userid"),
        ("/api/recommend/1?n=150&offset=51", "offset"),
        ("/api/recommend/1?write-back-type=read", "write-back-type"),
        ("/api/item/99999999/neighbors", "itemid"),
    ],
)
def test_an_address(http: FlaskClient, path: str, field: str) -> None:
    response = http.get(path)
    assert response.status_code == 400, response.text
    conforms(response.json, "ErrorAnswer")
    assert response.json["error"]["field"] == field


LIKED = {"itemid": 4, "value": 5}
Wrong = dict[str, tuple[dict[str, Any], str]]
RANK: Wrong = {
    "kind": ({"candidates": [1, "1"]}, "candidates"),
    "nobody": ({"candidates": [1], "userid": None}, "userid"),
}
HISTORY: Wrong = {
    "neither": ({}, "userid"),
    "type": ({"history": [{"itemid": 4, "type": "x"}]}, "history[0].type"),
    "value": ({"history": [{"itemid": 4, "value": 9}]}, "history[0].value"),
    "no value": ({"history": [LIKED, {"itemid": 4}]}, "history[1].value"),
    "future": (
        {"history": [{**LIKED, "timestamp": 2**32 - 1}]},
        "history[0].timestamp",
    ),
    "too many": ({"history": [LIKED] * 501}, "history"),
    "a wrong itemid": (
        {"history": [{"itemid": True, "value": 5}]},
        "history[0].itemid",
    ),
}
WHERE: Wrong = {
    "attribute": ({"where": {"genre": ["Comedy"]}}, "where"),
    "value": ({"where": {"genres": ["Comdy"]}}, "where"),
    "no order": ({"where": {"genres": {"gte": 3}}}, "where"),
    "condition": ({"where": {"genres": {"some": ["Drama"]}}}, "where.genres.some"),
    "text": ({"where": {"genres": {"gte": "3"}}}, "where.genres.gte"),
    "too many values": ({"where": {"genres": ["Drama"] * 101}}, "where.genres"),
    "too many": ({"exclude": list(range(1, MAX_IDS + 2))}, "exclude"),
    "a wrong id": ({"exclude": [1, 2, True]}, "exclude[2]"),
    "kind": ({"only": [1, "1"]}, "only"),
}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        *(
            pytest.param("/ml/rank", *each, id=f"rank: {name}")
            for name, each in RANK.items()
        ),
        *(
            pytest.param(
                "/ml/rec", {"userid": None, **body}, field, id=f"history: {name}"
            )
            for name, (body, field) in HISTORY.items()
        ),
        *(
            pytest.param(
                "/ml/rec",
                {"userid": userid, **body},
                field,
                id=f"where: {name} {userid}",
            )
            for userid in (USER, UNKNOWN_USER)
            for name, (body, field) in WHERE.items()
        ),
    ],
)
def test_a_body(http: FlaskClient, path: str, body: dict[str, Any], field: str) -> None:
    assert ask(http, 400, path, **body)["error"]["field"] == field
