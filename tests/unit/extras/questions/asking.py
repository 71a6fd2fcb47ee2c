"""Requests, and what their answers hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask.testing import FlaskClient

from tests.unit.online.world import AT

USER = 1


def ask(
    http: FlaskClient, status: int = 200, path: str = "/ml/rec", **body: Any
) -> dict[str, Any]:
    """Ask for `USER`, at `AT`, where nothing else is given; a userid or timestamp of None is left out."""
    requested = {"userid": USER, "timestamp": AT, **body}
    left_out = [name for name in ("userid", "timestamp") if requested[name] is None]
    response = http.post(
        path,
        json={name: value for name, value in requested.items() if name not in left_out},
    )
    assert response.status_code == status, response.text
    return dict(response.json or {})


def ids(answer: Mapping[str, Any]) -> list[Any]:
    return [item["itemid"] for item in answer["item_list"]]
