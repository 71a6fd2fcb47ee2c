"""Experiments over HTTP: who may start and stop them, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.online.world import DefaultWorld, World

LIVE = DefaultWorld().release
BODY = {"name": "ranker", "arms": {"control": {"release": LIVE}, "same": {"release": LIVE, "weight": 3}}}


@pytest.fixture
def kind() -> type[World]:
    return DefaultWorld


def test_one_is_started_looked_up_and_stopped(with_a_key: FlaskClient) -> None:
    assert with_a_key.get("/ml/experiments").json == {"experiments": []}
    started = with_a_key.post("/ml/experiments", json=BODY)
    assert started.status_code == 200, started.text
    conforms(started.json, "ToldExperiment")
    assert started.json is not None
    assert [arm["share"] for arm in started.json["arms"]] == [0.25, 0.75]
    there = with_a_key.get("/ml/experiments").json
    conforms(there, "ToldExperiments")
    assert there == {"experiments": [started.json]}
    over = with_a_key.post("/ml/experiments/ranker/stop").json
    assert over is not None
    assert over["stopped"] is not None
    assert with_a_key.get("/ml/experiments").json == {"experiments": [over]}


def test_starting_and_stopping_need_a_key_and_looking_does_not(http: FlaskClient) -> None:
    assert http.get("/ml/experiments").status_code == 200
    for path, body in (("/ml/experiments", BODY), ("/ml/experiments/ranker/stop", None)):
        assert http.post(path, json=body).status_code == 401


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "name", "name is missing; expected 1 to 40 characters"),
        ({**BODY, "share": "half"}, "share", "share must be a number above 0"),
        ({**BODY, "arms": {}}, "arms", "arms must be an object of 2 to 8 arms"),
        ({**BODY, "kind": "interleaved"}, "body", "interleaved arms have no weights"),
        ({**BODY, "buckets": []}, "buckets", "'buckets' is not a field of this request"),
        ({**BODY, "arms": {**BODY["arms"], "new": {"release": "f" * 12}}}, "arms", "which is not kept"),  # type: ignore[dict-item]
    ],
)
def test_what_is_wrong_with_a_declaration_is_said(with_a_key: FlaskClient, body: Any, field: str, message: str) -> None:
    answer = with_a_key.post("/ml/experiments", json=body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["error"]["field"] == field
    assert message in answer.json["error"]["message"]


def test_what_is_not_there_cannot_be_stopped(with_a_key: FlaskClient) -> None:
    answer = with_a_key.post("/ml/experiments/nothing/stop")
    assert answer.status_code == 400
    assert "No experiment is called 'nothing'; there are: none" in answer.text


def test_without_redis_it_says_so(with_a_key: FlaskClient, fakes: Fakes) -> None:
    fakes.store.down = True
    answer = with_a_key.get("/ml/experiments")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["error"]["service"] == "redis"
