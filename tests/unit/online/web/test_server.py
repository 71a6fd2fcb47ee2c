"""What the server answers, and what it logs."""

import asyncio
import json
import logging
import sys
import time
from typing import Any
from unittest.mock import AsyncMock, Mock, patch

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from data_exchange_center.settings import ServerSettings, Settings
from online.main.s1_server import JsonLines, create_app
from online.recommend import readiness
from online.recommend.types import Request
from online.web import asgi
from online.web.asgi import COMPLETE_SINCE, MAX_BODY
from online.web.guard import validated
from tests.unit.online.conftest import Fakes, plain
from tests.unit.online.world import (
    AT,
    NO_FEATURES_USER,
    UNKNOWN_USER,
    DefaultWorld,
    World,
)


@pytest.fixture
def kind() -> type[World]:
    return DefaultWorld


MANY_KEYS = b",".join(b'"%d": 1' % key for key in range(1_500))
MARKUP = "<script>alert(1)</script>"
BAD: list[tuple[str, bytes]] = [
    *(
        ("body", body)
        for body in (
            b" \n ",
            b"userid=1",
            b'{"userid": 1',
            b'{"userid": 1} {"userid": 2}',
            b"[1]",
            b'{"userid": 1, "\xff": 1}',  # not UTF-8
            b"[" * 8_000,
            b'{"userid": ' + b"[" * 8_000,
            b'{"userid": "\\ud800"}',  # half a character
            b'{"userid": 1' + b"0" * 5_000 + b"}",  # longer than Python reads
        )
    ),
    *(
        ("userid", b'{"userid": %s}' % userid)
        for userid in (
            b'""',
            b'"%s"' % ("é" * 257).encode(),
            b"1.0",
            b"null",
            b"true",
            b"NaN",
            b"1e999999999",
            b"0",
            b"2147483648",
        )
    ),
    ("userid", b"{%s}" % MANY_KEYS),
    (MARKUP, b'{"userid": 1, "%s": 1}' % MARKUP.encode()),
    *(
        (name, b'{"userid": 1, "%s": %s}' % (name.encode(), value))
        for name, value in (
            ("size", b"0"),
            ("size", b"201"),
            ("size", b'"50"'),
            ("timestamp", b"1700000000000"),
            ("explain", b'"yes"'),
            ("budget_ms", b"19"),
            ("strict", b"1"),
            ("sice", b"50"),
        )
    ),
]


@pytest.mark.parametrize(("field", "body"), BAD, ids=lambda given: str(given)[:30])
def test_bad_input_is_400_and_reaches_no_service(
    http: FlaskClient, fakes: Fakes, field: str, body: bytes
) -> None:
    response = http.post("/ml/rec", data=body)
    assert response.status_code == 400
    assert response.mimetype == "application/json"
    error = response.json["error"]
    assert 10 < len(error.pop("message")) < 300
    assert error == {"code": "bad_request", "field": field}
    assert fakes.users.calls == []


def test_a_request_without_a_time_is_of_now() -> None:
    before = int(time.time())
    request = validated(b'{"userid": 1}', Request.model_validate_json)
    assert before <= request.timestamp <= time.time()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/ml/rec", b"x" * (MAX_BODY + 1), 413, ("body_too_large", "body")),
        ("POST", "/ml/rec", b"x" * 10_000_000, 413, ("body_too_large", "body")),
        ("GET", "/nowhere", b"", 404, ("not_found", None)),
        ("GET", "/ml/rec", b"", 405, ("method_not_allowed", None)),
    ],
)
def test_errors_have_one_shape(
    http: FlaskClient,
    method: str,
    path: str,
    body: bytes,
    status: int,
    error: tuple[str, str | None],
) -> None:
    response = http.open(path, method=method, data=body)
    reported = response.json["error"]
    assert response.status_code == status
    assert (reported["code"], reported.get("field")) == error
    if status == 405:
        assert "POST" in response.headers["Allow"]
        assert response.headers["Allow"] in reported["message"]


def test_scores_have_six_significant_digits(http: FlaskClient, fakes: Fakes) -> None:
    fakes.world.weights[:] /= 1e6
    # codes are large: the scores are small
    fakes.world.weights[fakes.world.spec.columns.index("itemid")] = -0.5
    items = answered(http, {"userid": 8, "timestamp": AT})["item_list"]
    scores = [item["score"] for item in items]
    assert scores == [float(f"{score:.6g}") for score in scores]
    assert min(scores) < 1e-6


def test_every_answer_that_is_not_personal_says_why(
    http: FlaskClient, fakes: Fakes
) -> None:
    assert "reason" not in answered(http, {"userid": 1})
    unknown = answered(http, {"userid": UNKNOWN_USER})
    answer = answered(http, {"userid": NO_FEATURES_USER})
    reason = "does not know this user"
    assert answer["degraded"] == [
        {"service": "feast", "reason": reason, "instead": "recall_order"}
    ]
    fakes.world.seen[1] = fakes.world.itemids[4:]
    short = answered(http, {"userid": 1})
    assert "degraded" not in short
    for each in (unknown, answer, short):
        assert each["cold_start"] == (each is unknown)
        assert each["reason"]


def answered(http: FlaskClient, body: dict[str, Any]) -> dict[str, Any]:
    response = http.post("/ml/rec", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json)


@pytest.mark.parametrize("name", ["redis", "elasticsearch"])
def test_readyz_says_what_is_away(
    http: FlaskClient, fakes: Fakes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)
    answered(http, {"userid": 1})
    fakes.service(name).down = True
    for _ in range(3):
        answered(http, {"userid": 1})
    ready = http.get("/readyz")
    assert ready.status_code == 200
    assert (ready.json["status"], ready.json["ready"]) == ("degraded", True)
    for service, state in ready.json["services"].items():
        assert state["ready"] == (state["breaker"] == "closed") == (service != name)
    assert http.get("/healthz").status_code == 200
    fakes.service(name).down = False
    ready = http.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "ready")


def test_queueing_time_is_part_of_took_ms(http: FlaskClient) -> None:
    since = {COMPLETE_SINCE: time.perf_counter() - 6}
    strict: Any = {"json": {"userid": 1, "strict": True}}
    late = http.post("/ml/rec", **strict, environ_overrides=since).json
    assert late["took_ms"]["total"] > 6_000
    assert http.post("/ml/rec", **strict).json["took_ms"]["total"] < 6_000


def test_no_live_release_is_503_that_says_what_to_do(
    http: FlaskClient, fakes: Fakes
) -> None:
    fakes.users.live_release = None
    fakes.users.history.clear()
    with fakes.restarted() as recommender:
        server = create_app(recommender, plain(Settings())).test_client()
        recommender.releases.follow()
        answer = server.post("/ml/rec", json={"userid": 1})
        for response in (answer, server.get("/readyz")):
            assert response.status_code == 503
            assert "make sync" in response.text
        assert answer.headers["Retry-After"] == "1"


def test_the_unexpected_is_500_without_its_insides(
    http: FlaskClient,
    fakes: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(
        fakes.recommender, "slate", Mock(side_effect=ZeroDivisionError("the insides"))
    )
    response = http.post("/ml/rec", json={"userid": 1})
    assert response.status_code == 500
    assert response.json["error"]["code"] == "internal_error"
    assert "insides" not in response.text
    assert "the insides" in caplog.text
    assert response.headers["X-Request-Id"] in caplog.text


def test_answers_are_neither_stored_nor_sniffed(http: FlaskClient) -> None:
    heads = [http.get(path).headers for path in ("/healthz", "/docs", "/nowhere")]
    encoded = asgi.OVERLOADED.reply()[1]
    heads.append(Headers([(key.decode(), value.decode()) for key, value in encoded]))
    for head in heads:
        assert head["Cache-Control"] == "no-store"
        assert head["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("é", False)],
)
def test_a_sane_request_id_is_kept(
    http: FlaskClient, given_id: str, kept: bool
) -> None:
    response = http.get("/healthz", headers={"X-Request-Id": given_id})
    assert (response.headers["X-Request-Id"] == given_id) is kept


@pytest.mark.parametrize(
    ("others", "share", "workers", "closes"),
    [(2, 1.0, 2, None), (3, 1.0, 2, b"close"), (3, 0.0, 2, None), (3, 1.0, 1, None)],
)
def test_a_busy_worker_asks_clients_to_reconnect(
    others: int, share: float, workers: int, closes: object
) -> None:
    settings, send = ServerSettings(threads=3, workers=workers), AsyncMock()
    with patch.object(asgi, "RECONNECTS", share):
        edge = asgi.Edge(Flask("app"), settings)
    edge._pool.in_hand = others
    scope = {"method": "GET", "path": "/", "raw_path": b"/", "query_string": b""}
    scope |= {"headers": [], "http_version": "1.1", "scheme": "http"}
    scope |= {"server": None, "client": None}
    asyncio.run(edge(scope, AsyncMock(return_value={"type": "http.request"}), send))
    start = send.await_args_list[0].args[0]
    assert (start["status"], dict(start["headers"]).get(b"connection")) == (404, closes)


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
