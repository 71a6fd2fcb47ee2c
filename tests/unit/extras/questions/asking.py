"""Requests, and what their answers hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.online.world import AT, DefaultWorld, ShopWorld

USER = 1
DEFAULT = pytest.mark.parametrize("kind", [DefaultWorld])
SHOP = pytest.mark.parametrize("kind", [ShopWorld])


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
