"""The server as `make serve` runs it: slow clients, too many at once, the end of a worker, numbers of all workers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center.settings import ServerSettings, Settings
from online.stack import renewal
from online.web.asgi import RETRY_AFTER_S
from online.web.limits import MAX_BODY
from tests.free_ports import settings_on_free_ports
from tests.metrics_page import requests_of, value
from tests.services.online.gunicorn_server import running

ARRIVES_WITHIN_S = 4.0
AT_ONCE_S = 3.0  # on a busy machine, and without having waited for anybody
SLOW_CLIENTS = 200  # the server has two threads
HEAD = b"POST /ml/rec HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BAD_BODY = b'{"userid": -1}'
BAD = HEAD + b"Content-Length: %d\r\n\r\n" % len(BAD_BODY) + BAD_BODY  # answered without a service: 400


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a server without services."""
    folder = tmp_path_factory.mktemp("gunicorn")
    with running(folder, workers=1, threads=2, arrival_timeout_s=ARRIVES_WITHIN_S) as (settings, _):
        yield settings


@contextmanager
def connection(settings: Settings) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", settings.server.port), timeout=10) as client:
        yield client


def until_closed(client: socket.socket) -> bytes:
    said = b""
    with suppress(ConnectionResetError):
        while chunk := client.recv(65536):
            said += chunk
    return said


def read_response(client: socket.socket) -> tuple[int, bytes]:
    """Read exactly one: status and body."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += client.recv(1)
    head = said.decode().lower()
    left = int(head.split("content-length: ")[1].split("\r\n")[0]) if "content-length" in head else 0
    body = b""
    while len(body) < left:
        body += client.recv(left - len(body))
    return int(head.split()[1]), body


def trickle(client: socket.socket, drop: bytes, done: threading.Event) -> None:
    while drop and not done.wait(0.1):
        try:
            client.sendall(drop)
        except OSError:
            return


SLOW: dict[str, tuple[bytes, bytes]] = {
    "says nothing": (b"", b""),
    "headers by the byte": (HEAD, b"X"),
    "headers by the line": (HEAD, b"X-A: b\r\n"),
    "a body by the byte": (HEAD + b"Content-Length: 2000\r\n\r\n", b" "),
    "a body that never comes": (HEAD + b"Content-Length: 10\r\n\r\n{", b""),
    "does not hang up": (b"GET /nowhere HTTP/1.0\r\n\r\n", b""),
}


@pytest.mark.parametrize(("first", "drop"), SLOW.values(), ids=SLOW)
def test_nobody_waits_for_slow_clients(settings: Settings, first: bytes, drop: bytes) -> None:
    done = threading.Event()
    with ExitStack() as stack, ThreadPoolExecutor(SLOW_CLIENTS) as threads:
        stack.callback(done.set)
        for _ in range(SLOW_CLIENTS):
            client = stack.enter_context(connection(settings))
            client.sendall(first)
            threads.submit(trickle, client, drop, done)
        for _ in range(5):
            started = time.perf_counter()
            response = requests.post(f"{settings.server.url}/ml/rec", data=BAD_BODY, timeout=10)
            assert response.json()["error"]["field"] == "userid"
            assert time.perf_counter() - started < AT_ONCE_S
        done.set()


@pytest.mark.parametrize("name", ["a body by the byte", "a body that never comes"])
def test_a_body_that_does_not_arrive_is_408(settings: Settings, name: str) -> None:
    first, drop = SLOW[name]
    done, started = threading.Event(), time.perf_counter()
    with connection(settings) as client, ThreadPoolExecutor(1) as threads:
        client.sendall(first)
        threads.submit(trickle, client, drop, done)
        status, body = read_response(client)
        done.set()
    assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
    assert time.perf_counter() - started > 0.9 * ARRIVES_WITHIN_S


BY_THE_EDGE: dict[str, tuple[bytes, int, str]] = {
    "a body of unsaid length": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", 411, "length_required"),
    "too large a body": (HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 400, "bad_request"),
}
BY_GUNICORN: dict[str, tuple[bytes, int]] = {
    "no HTTP": (b"hello there\r\n\r\n", 400),
    "another version": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "a header without a colon": (b"GET / HTTP/1.1\r\nnonsense\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
    "no such length": (HEAD + b"Content-Length: x\r\n\r\n{}", 400),
    "a length and chunks": (HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a long line": (b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\n\r\n", 414),
    "a long header": (HEAD + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "many headers": (HEAD + b"X: a\r\n" * 200 + b"\r\n", 431),
    "a head without end": (HEAD + b"X: a\r\n" * 16_384, 431),
}


@pytest.mark.parametrize(("sent", "status", "code"), BY_THE_EDGE.values(), ids=BY_THE_EDGE)
def test_what_cannot_be_right_is_refused_before_the_body_is_read(
    settings: Settings, sent: bytes, status: int, code: str
) -> None:
    with connection(settings) as client:
        client.sendall(sent)
        head, _, body = until_closed(client).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert json.loads(body)["error"]["code"] == code
    page = requests.get(f"{settings.server.url}/metrics", timeout=10).text
    assert value(page, "refused_total", code=code) >= 1


@pytest.mark.parametrize(("sent", "status"), BY_GUNICORN.values(), ids=BY_GUNICORN)
def test_what_is_no_request_is_refused_and_the_connection_closed(settings: Settings, sent: bytes, status: int) -> None:
    with connection(settings) as client:
        with suppress(ConnectionError):
            client.sendall(sent)
        assert int(until_closed(client).split()[1]) == status


def test_who_sends_ten_megabytes_reads_the_answer(settings: Settings) -> None:
    response = requests.post(f"{settings.server.url}/ml/rec", data=b"x" * 10_000_000, timeout=10)
    assert (response.status_code, response.json()["error"]["field"]) == (400, "body")


def test_a_request_may_come_in_pieces_and_the_next_on_the_same_connection(settings: Settings) -> None:
    with connection(settings) as client:
        for cut in range(1, len(BAD), 7):
            client.sendall(BAD[:cut])
            client.sendall(BAD[cut:])
            assert read_response(client)[0] == 400
        client.sendall(BAD + BAD)  # and two at once
        assert [read_response(client)[0] for _ in range(2)] == [400, 400]
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BAD_BODY))
        assert read_response(client)[0] == 100
        client.sendall(BAD_BODY)
        assert read_response(client)[0] == 400


# More at once than the queue holds

THREADS, IN_FLIGHT, BEYOND = 2, 8, 8
REDIS_TIMEOUT_S = 5.0  # a busy machine has all requests there before, and has refused those that are too many


@contextmanager
def stuck(folder: Path) -> Iterator[Settings]:
    """A server whose Redis takes connections and says nothing."""
    settings = settings_on_free_ports(folder)
    redis = settings.redis.model_copy(update={"timeout_s": REDIS_TIMEOUT_S})
    with (
        socket.create_server(("127.0.0.1", redis.port), backlog=200),
        running(
            folder,
            settings.model_copy(update={"redis": redis}),
            workers=1,
            threads=THREADS,
            max_in_flight=IN_FLIGHT,
        ) as (settings, _),
    ):
        yield settings


def ask(settings: Settings) -> tuple[float, requests.Response]:
    """Seconds, and the answer. A strict request is no way around the queue."""
    began = time.perf_counter()
    response = requests.post(f"{settings.server.url}/ml/rec", json={"userid": 1, "strict": True}, timeout=90)
    return time.perf_counter() - began, response


def test_what_is_beyond_the_queue_is_503_at_once_and_the_server_says_that_it_lives(tmp_path: Path) -> None:
    with stuck(tmp_path) as settings:
        with ThreadPoolExecutor(IN_FLIGHT + BEYOND) as clients:
            asked = [clients.submit(ask, settings) for _ in range(IN_FLIGHT + BEYOND)]
            one = HTTPConnection(settings.server.host, settings.server.port, timeout=90)
            refused = lambda: [a.result() for a in asked if a.done() and a.result()[1].status_code == 503]  # noqa: E731
            until(lambda: len(refused()) >= BEYOND)
            for path in ("healthz", "metrics"):
                assert requests.get(f"{settings.server.url}/{path}", timeout=AT_ONCE_S).status_code == 200
            one.request("POST", "/ml/rec", b'{"userid": 1}')
            response = one.getresponse()
            assert json.loads(response.read())["error"]["code"] == "overloaded"
            one.auto_open = 0  # type: ignore[assignment]  # a connection that is closed is not made again
            one.request("POST", "/ml/rec", BAD_BODY)
            one.getresponse().read()
        overloaded = [(s, r) for s, r in refused() if r.json()["error"]["code"] == "overloaded"]
        assert len(overloaded) == BEYOND
        for seconds, answer in overloaded:
            assert seconds < 0.75 * REDIS_TIMEOUT_S
            assert answer.headers["Retry-After"] == str(RETRY_AFTER_S)
        page = requests.get(f"{settings.server.url}/metrics", timeout=10).text
        assert value(page, "refused_total", code="overloaded") >= BEYOND + 1
        assert ask(settings)[1].json()["error"]["code"] != "overloaded"


# Workers


def until(true: Callable[[], bool]) -> None:
    for attempt in Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.05)):
        with attempt:
            assert true()


def test_a_server_that_is_stopped_answers_what_it_has_in_hand(tmp_path: Path) -> None:
    with stuck(tmp_path) as settings, ThreadPoolExecutor(IN_FLIGHT) as clients:
        asked = [clients.submit(ask, settings) for _ in range(THREADS)]
        page = lambda: requests.get(f"{settings.server.url}/metrics", timeout=10).text  # noqa: E731
        until(lambda: value(page(), "requests_in_flight") == THREADS)
    # here the server has ended
    assert [answer.result()[1].json()["error"]["service"] for answer in asked] == ["redis"] * THREADS
    assert "SIGKILL" not in (tmp_path / "server.log").read_text()


def test_workers_are_counted_together(tmp_path: Path) -> None:
    with running(tmp_path, workers=2, threads=3) as (settings, master):

        def page() -> str:
            return requests.get(f"{settings.server.url}/metrics", timeout=10).text

        def ask(times: int) -> None:
            for _ in range(times):  # a connection each, so that both workers get some
                assert requests.get(f"{settings.server.url}/nowhere", timeout=10).status_code == 404

        ask(30)
        assert requests_of(page(), 404, "not_found", "unmatched") == 30
        until(lambda: value(page(), "threads") == 6)
        former = master.children()
        assert renewal.workers(settings) == {worker.pid for worker in former}
        former[0].kill()
        until(lambda: former[0].pid not in renewal.workers(settings) and len(renewal.workers(settings)) == 2)
        assert value(page(), "threads") == 6  # the dead one's threads are gone, the new one's have come
        assert requests_of(page(), 404, "not_found", "unmatched") == 30  # what the dead one counted stays
        left = [path.name for path in settings.service_dir("server").rglob("*.db")]
        assert not [name for name in left if "live" in name and str(former[0].pid) in name]
    with running(tmp_path, port=settings.server.port, workers=1):
        assert requests_of(page(), 404, "not_found", "unmatched") == 0
        assert value(page(), "threads") == ServerSettings().threads
