"""More requests at once than the server's threads and its queue hold: the rest are told so, at once."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
import requests

from data_exchange_center.settings import Settings
from online.web.in_hand import PLACES_PER_THREAD
from tests.free_ports import settings_on_free_ports
from tests.metrics_page import value
from tests.services.online.gunicorn_server import running

THREADS = 2
TAKEN = PLACES_PER_THREAD * THREADS  # the others of them wait
MANY = TAKEN + 8
STRICT = {"userid": 1, "strict": True}
REDIS_TIMEOUT_S = 5.0  # a busy machine has all requests there before, and has refused those that are too many


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a server whose Redis takes connections and says nothing."""
    folder: Path = tmp_path_factory.mktemp("overload")
    settings = settings_on_free_ports(folder)
    redis = settings.redis.model_copy(update={"timeout_s": REDIS_TIMEOUT_S})
    with (
        socket.create_server(("127.0.0.1", redis.port), backlog=200),
        running(folder, settings.model_copy(update={"redis": redis}), workers=1, threads=THREADS) as (settings, _),
    ):
        yield settings


def ask(settings: Settings) -> tuple[float, requests.Response]:
    """Seconds, and the answer."""
    began = time.perf_counter()
    response = requests.post(f"{settings.server.url}/ml/rec", json=STRICT, timeout=90)
    return time.perf_counter() - began, response


def test_what_is_too_much_at_once_is_turned_away_and_told_when_to_come_back(settings: Settings) -> None:
    with ThreadPoolExecutor(MANY) as clients:
        answers = list(clients.map(ask, [settings] * MANY))
    turned_away = [(seconds, r) for seconds, r in answers if r.json()["error"]["code"] == "overloaded"]
    assert len(turned_away) == MANY - TAKEN
    for seconds, response in turned_away:
        assert seconds < 0.75 * REDIS_TIMEOUT_S
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert set(response.json()["error"]) == {"code", "message"}
    page = requests.get(f"{settings.server.url}/metrics", timeout=10).text
    assert value(page, "refused_total", code="overloaded") == len(turned_away)
    _, afterwards = ask(settings)
    assert afterwards.json()["error"]["code"] != "overloaded"


def test_who_is_turned_away_can_ask_again_on_the_same_connection(settings: Settings) -> None:
    one = HTTPConnection(settings.server.host, settings.server.port, timeout=90)

    def again() -> HTTPResponse:
        one.request("POST", "/ml/rec", json.dumps(STRICT))
        response = one.getresponse()
        response.read()
        return response

    with ThreadPoolExecutor(MANY) as clients, closing(one):
        answers = [clients.submit(ask, settings) for _ in range(MANY)]
        next(as_completed(answers)).result()  # one that was turned away, so that the others are there
        turned_away = again()
        assert (turned_away.headers["Retry-After"], turned_away.headers["Connection"]) == ("1", "keep-alive")
        one.auto_open = 0  # type: ignore[assignment]  # a connection that is closed is not made again
        while again().headers.get("Retry-After"):
            time.sleep(0.2)
        wait(answers)


def test_whoever_watches_the_server_is_not_turned_away(settings: Settings) -> None:
    with ThreadPoolExecutor(MANY) as clients:
        answers = [clients.submit(ask, settings) for _ in range(MANY)]
        time.sleep(0.3)
        watched = [requests.get(f"{settings.server.url}/{path}", timeout=30) for path in ("healthz", "metrics")]
    assert [response.status_code for response in watched] == [200, 200]
    assert "overloaded" in {answer.result()[1].json()["error"]["code"] for answer in answers}
