"""Requests to a server with all extras, its OpenAPI document, and what answers hold."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

import jsonschema
import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.unit.extras.conftest import Fakes
from tests.unit.online.world import AT, ShopWorld

USER = 1
SHOP = pytest.mark.parametrize("kind", [ShopWorld])


def document() -> dict[str, Any]:
    with closing(Recommender.from_settings(Settings())) as recommender:
        http = create_app(recommender, Settings()).test_client()
        return dict(http.get("/openapi.json").json or {})


DOCUMENT: Final = document()


def conforms(content: Any, name: str) -> None:
    """Assert that a JSON value is as the document has it."""
    schema = {
        "$ref": f"#/components/schemas/{name}",
        "components": DOCUMENT["components"],
    }
    jsonschema.Draft202012Validator(schema).validate(content)


def ask(
    http: FlaskClient, status: int = 200, path: str = "/ml/rec", **body: Any
) -> dict[str, Any]:
    """Ask for `USER`, at `AT`, where nothing else is given; a userid or timestamp of None is left out."""
    given = {"userid": USER, "timestamp": AT, **body}
    for name in ("userid", "timestamp"):
        if given[name] is None:
            del given[name]
    response = http.post(path, json=given)
    assert response.status_code == status, response.text
    answer = dict(response.json or {})
    conforms(answer, "Answer" if status == 200 else "ErrorAnswer")
    return answer


def refused(http: FlaskClient, **body: Any) -> str:
    """The field that a request is refused for."""
    return str(ask(http, 400, **body)["error"]["field"])


def ids(answer: Mapping[str, Any]) -> list[Any]:
    return [item["itemid"] for item in answer["item_list"]]


def switch(fakes: Fakes) -> None:
    """Let another release answer."""
    other = replace(fakes.world, release="bbbbbbbbbbbb", seed=1, model_version=2)
    fakes.add(other)
    fakes.users.activate(other.release)
    fakes.follow()
