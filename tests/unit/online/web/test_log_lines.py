from __future__ import annotations

import json
import logging

import pytest
from flask.testing import FlaskClient

from online.main.s1_server import JsonLines
from tests.unit.online.conftest import Fakes


def test_a_line_is_one_json_object_whatever_is_said() -> None:
    record = logging.LogRecord(
        "a.b", logging.WARNING, "", 0, "said %s\n%s", ("é", {"x": 1}), None
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert {name: said[name] for name in ("level", "logger", "message")} == {
        "level": "WARNING",
        "logger": "a.b",
        "message": "said é\n{'x': 1}",
    }
    assert said["time"].endswith("+00:00")


def test_an_exception_keeps_its_stack() -> None:
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError as error:
        record = logging.LogRecord(
            "a",
            logging.ERROR,
            "",
            0,
            "failed",
            (),
            (type(error), error, error.__traceback__),
        )
    assert "by nothing" in json.loads(JsonLines().format(record))["exception"]


def test_a_request_is_a_line_with_its_facts(
    http: FlaskClient, fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "online.access"):
        response = http.post(
            "/ml/rec", json={"userid": 1, "size": 7}, headers={"X-Request-ID": "mine"}
        )
        http.get("/a%0Ab?key=hush")
        fakes.scorer.down = True
        http.post("/ml/rec", json={"userid": 1, "strict": True})
    records = (record for record in caplog.records if record.name == "online.access")
    answered, missing, failed = (
        json.loads(JsonLines().format(record)) for record in records
    )
    assert response.headers["X-Request-ID"] == "mine"
    assert (
        answered.items()
        >= {
            "method": "POST",
            "path": "/ml/rec",
            "status": 200,
            "user": 1,
            "size": 7,
            "release": fakes.world.release,
            "outcome": "personal",
        }.items()
    )
    assert {"ms", "redis_ms", "elasticsearch_ms", "feast_ms", "triton_ms"} < set(
        answered
    )
    assert (
        missing.items()
        >= {"path": "/a\nb", "status": 404, "outcome": "not_found"}.items()
    )
    assert "hush" not in caplog.text
    assert (
        failed.items()
        >= {
            "status": 503,
            "outcome": "service_unavailable",
            "service": "triton",
        }.items()
    )
    assert "triton_ms" in failed


def test_log_lines_of_a_request_have_its_id(
    http: FlaskClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caplog.handler, "formatter", JsonLines())
    with caplog.at_level(logging.INFO):
        http.get("/healthz", headers={"X-Request-ID": "abc"})
    assert [json.loads(line)["id"] for line in caplog.text.splitlines()] == ["abc"]
