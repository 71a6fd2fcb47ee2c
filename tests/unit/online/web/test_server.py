from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from unittest.mock import AsyncMock, Mock, patch

import pytest
from flask import Flask
from flask.testing import FlaskClient

from data_exchange_center.settings import ServerSettings, Settings
from online.main.s1_server import create_app
from online.recommend import readiness
from online.recommend.outcomes import Degradation, Outcome, sentences
from online.recommend.types import Request
from online.web import asgi
from online.web.asgi import COMPLETE_SINCE, MAX_BODY
from online.web.guard import validated
from tests.unit.online.conftest import Fakes, plain
from tests.unit.online.world import AT, NO_FEATURES_USER, UNKNOWN_USER, DefaultWorld

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "body"),
    "blank": (b" \n ", "body"),
    "not JSON": (b"userid=1", "body"),
    "cut off": (b'{"userid": 1', "body"),
    "two values": (b'{"userid": 1} {"userid": 2}', "body"),
    "array": (b"[1]", "body"),
    "null": (b"null", "body"),
    "not UTF-8": (b'{"userid": 1, "\xff": 1}', "body"),
    "deep": (b"[" * 8_000, "body"),
    "deep in a field": (b'{"userid": ' + b"[" * 8_000, "body"),
    "many keys": (
        b"{" + b",".join(b'"%d": 1' % key for key in range(1_500)) + b"}",
        "userid",
    ),
    "markup": (
        b'{"userid": 1, "<script>alert(1)</script>": 1}',
        "<script>alert(1)</script>",
    ),
    "no userid": (b"{}", "userid"),
    "userid an empty string": (b'{"userid": ""}', "userid"),
    "userid a long string": (b'{"userid": "' + "é".encode() * 257 + b'"}', "userid"),
    "userid half a character": (b'{"userid": "\\ud800"}', "body"),
    "userid a float": (b'{"userid": 1.0}', "userid"),
    "userid null": (b'{"userid": null}', "userid"),
    "userid a list": (b'{"userid": [1]}', "userid"),
    "userid true": (b'{"userid": true}', "userid"),
    "userid NaN": (b'{"userid": NaN}', "userid"),
    "userid a huge exponent": (b'{"userid": 1e999999999}', "userid"),
    "userid zero": (b'{"userid": 0}', "userid"),
    "userid beyond int32": (b'{"userid": 2147483648}', "userid"),
    "userid longer than Python reads": (b'{"userid": 1' + b"0" * 5_000 + b"}", "body"),
    "size 0": (b'{"userid": 1, "size": 0}', "size"),
    "size 201": (b'{"userid": 1, "size": 201}', "size"),
    "size a string": (b'{"userid": 1, "size": "50"}', "size"),
    "timestamp in milliseconds": (
        b'{"userid": 1, "timestamp": 1700000000000}',
        "timestamp",
    ),
    "explain a string": (b'{"userid": 1, "explain": "yes"}', "explain"),
    "diversity above 1": (b'{"userid": 1, "diversity": 1.01}', "diversity"),
    "budget_ms 19": (b'{"userid": 1, "budget_ms": 19}', "budget_ms"),
    "budget_ms null": (b'{"userid": 1, "budget_ms": null}', "budget_ms"),
    "strict 1": (b'{"userid": 1, "strict": 1}', "strict"),
    "unknown field": (b'{"userid": 1, "sice": 50}', "sice"),
}


@pytest.mark.parametrize("kind", [DefaultWorld])
@pytest.mark.parametrize(("body", "field"), BAD.values(), ids=BAD)
def test_bad_input_is_400_and_reaches_no_service(
    http: FlaskClient, fakes: Fakes, body: bytes, field: str
) -> None:
    response = http.post("/ml/rec", data=body)
    assert response.status_code == 400
    assert response.mimetype == "application/json"
    error = response.json["error"]
    assert set(error) == {"code", "field", "message"}
    assert (error["code"], error["field"]) == ("bad_request", field)
    assert 10 < len(error["message"]) < 300
    assert "Traceback" not in error["message"]
    assert fakes.users.calls == []


def test_json_is_accepted_whatever_the_content_type(http: FlaskClient) -> None:
    for kind in (None, "application/x-www-form-urlencoded", "text/plain; charset=x"):
        response = http.post("/ml/rec", data=b'{"userid": 1}', content_type=kind)
        assert response.status_code == 200
        assert len(response.json["item_list"]) == 50


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
    scores = [
        item["score"]
        for item in answered(http, {"userid": 8, "timestamp": AT})["item_list"]
    ]
    expected = [
        item.score
        for item in fakes.recommender.recommend(
            Request(userid=8, timestamp=AT)
        ).item_list
    ]
    assert scores == [float(f"{score:.6g}") for score in expected]
    assert min(scores) < 1e-6


def test_every_answer_that_is_not_personal_says_why(
    http: FlaskClient, fakes: Fakes
) -> None:
    assert "reason" not in answered(http, {"userid": 1})
    unknown = answered(http, {"userid": UNKNOWN_USER})
    assert unknown["cold_start"] is True
    assert unknown["reason"]
    assert len(unknown["item_list"]) == 50
    answer = answered(http, {"userid": NO_FEATURES_USER})
    assert answer["degraded"] == [
        {
            "service": "feast",
            "reason": "does not know this user",
            "instead": "recall_order",
        }
    ]
    assert answer["reason"]
    fakes.world.seen[1] = fakes.world.itemids[:-4]
    for name in fakes.world.item_vectors:
        fakes.world.item_vectors[name].clear()
    fakes.world.user_terms[1] = ()
    answer = answered(http, {"userid": 1})
    assert "degraded" not in answer
    assert (answer["short"], answer["filled_up"]) == (
        "no_more_items",
        len(answer["item_list"]),
    )
    assert answer["reason"]


@pytest.mark.parametrize(
    "outcome", [o for o in Outcome if o not in (Outcome.PERSONAL, Outcome.COLD_START)]
)
def test_degradations_have_a_code_and_a_sentence(outcome: Outcome) -> None:
    degradation = Degradation.of(outcome, "triton", "did not answer in time")
    assert re.fullmatch(r"[a-z_]+", degradation.instead)
    assert re.fullmatch(
        r"triton did not answer in time: [^.]+\.",
        sentences([degradation], cold_start=False),
    )


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
    assert [n for n, s in ready.json["services"].items() if not s["ready"]] == [name]
    assert [
        n for n, s in ready.json["services"].items() if s["breaker"] != "closed"
    ] == [name]
    assert http.get("/healthz").status_code == 200
    fakes.service(name).down = False
    ready = http.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "ready")


def test_queueing_time_is_part_of_took_ms(http: FlaskClient) -> None:
    since, strict = (
        {COMPLETE_SINCE: time.perf_counter() - 6},
        {"userid": 1, "strict": True},
    )
    late: Any = http.post("/ml/rec", json=strict, environ_overrides=since).get_json()
    assert late["took_ms"]["total"] > 6_000
    assert answered(http, strict)["took_ms"]["total"] < 6_000


def test_no_live_release_is_503_that_says_what_to_do(
    http: FlaskClient, fakes: Fakes
) -> None:
    fakes.users.live_release = None
    fakes.users.history.clear()
    with fakes.restarted() as recommender:
        server = create_app(recommender, plain(Settings())).test_client()
        recommender.releases.follow()
        for response in (
            server.post("/ml/rec", json={"userid": 1}),
            server.get("/readyz"),
        ):
            assert response.status_code == 503
            assert "make sync" in response.text
        assert server.post("/ml/rec", json={"userid": 1}).headers["Retry-After"] == "1"
        fakes.users.live_release = fakes.world.release
        recommender.releases.follow()
        answered(server, {"userid": 1})


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
    heads = [dict(http.get(path).headers) for path in ("/healthz", "/docs", "/nowhere")]
    refused = {name.decode(): value for name, value in asgi.OVERLOADED.reply()[1]}
    for head in [{n.lower(): v for n, v in head.items()} for head in heads]:
        assert head["cache-control"] == "no-store"
        assert head["x-content-type-options"] == "nosniff"
    assert (refused["cache-control"], refused["x-content-type-options"]) == (
        b"no-store",
        b"nosniff",
    )


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
    with patch.object(asgi, "RECONNECTS", share):
        edge, send = (
            asgi.Edge(Flask("app"), ServerSettings(threads=3, workers=workers)),
            AsyncMock(),
        )
    edge._pool.in_hand = others
    scope = {
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": None,
        "client": None,
    }
    asyncio.run(edge(scope, AsyncMock(return_value={"type": "http.request"}), send))
    start = send.await_args_list[0].args[0]
    assert (start["status"], dict(start["headers"]).get(b"connection")) == (404, closes)
