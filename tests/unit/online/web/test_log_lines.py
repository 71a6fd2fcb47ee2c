import json
import logging
import sys
from typing import Any

import pytest
from flask.testing import FlaskClient

from online.main.s1_server import JsonLines
from tests.unit.online.conftest import Fakes


def test_a_line_is_one_json_object_with_the_stack_of_an_exception() -> None:
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        error = sys.exc_info()
    said: Any = ("said %s\n%s", ("é", {"x": 1}))
    line = JsonLines().format(
        logging.LogRecord("a.b", logging.WARNING, "", 0, *said, error)
    )
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"]) == ("WARNING", "a.b")
    assert found["message"] == "said é\n{'x': 1}"
    assert found["time"].endswith("+00:00")
    assert "by nothing" in found["exception"]


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
    facts = {"method": "POST", "path": "/ml/rec", "status": 200, "user": 1, "size": 7}
    facts |= {"release": fakes.world.release, "outcome": "personal"}
    assert answered.items() >= facts.items()
    assert {"ms", "redis_ms", "elasticsearch_ms", "feast_ms", "triton_ms"} < {*answered}
    facts = {"path": "/a\nb", "status": 404, "outcome": "not_found"}
    assert missing.items() >= facts.items()
    assert "hush" not in caplog.text
    facts = {"status": 503, "outcome": "service_unavailable", "service": "triton"}
    assert failed.items() >= facts.items()
    assert "triton_ms" in failed


def test_log_lines_of_a_request_have_its_id(
    http: FlaskClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caplog.handler, "formatter", JsonLines())
    with caplog.at_level(logging.INFO):
        http.get("/healthz", headers={"X-Request-ID": "abc"})
    assert [json.loads(line)["id"] for line in caplog.text.splitlines()] == ["abc"]
