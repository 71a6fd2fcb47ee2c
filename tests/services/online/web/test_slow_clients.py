"""Clients that are slow, or that say nothing, or that speak something else: nobody else waits for them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
import requests

from data_exchange_center.settings import Settings
from online.web.limits import MAX_BODY, MAX_HEAD
from tests.metrics_page import value
from tests.services.online.gunicorn_server import running

PATIENCE_S = 4.0  # of the server, with a request that does not arrive
AT_ONCE_S = 3.0  # even on a busy machine, and without having waited for anybody
MANY = 40  # clients; the server has two threads
HEAD = b"POST /ml/rec HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, psutil.Process]]:
    folder = tmp_path_factory.mktemp("slow")
    with running(folder, workers=1, threads=2, arrival_timeout_s=PATIENCE_S) as started:
        yield started


@pytest.fixture
def settings(started: tuple[Settings, psutil.Process]) -> Settings:
    return started[0]


@pytest.fixture
def server(started: tuple[Settings, psutil.Process]) -> psutil.Process:
    """gunicorn's master."""
    return started[1]


@contextmanager
def connection(settings: Settings) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", settings.server.port), timeout=10) as client:
        yield client


def until_closed(client: socket.socket) -> bytes:
    said = b""
    while chunk := client.recv(65536):
        said += chunk
    return said


def answer(said: bytes) -> tuple[int, dict[str, str]]:
    """Status and error of one response."""
    head, _, body = said.partition(b"\r\n\r\n")
    error: dict[str, str] = json.loads(body)["error"]
    return int(head.split()[1]), error


def alive_within(settings: Settings, seconds: float) -> None:
    started = time.perf_counter()
    assert requests.get(f"{settings.server.url}/healthz", timeout=10).status_code == 200
    assert time.perf_counter() - started < seconds


def trickle(client: socket.socket, first: bytes, drop: bytes, done: threading.Event) -> None:
    client.sendall(first)
    while not done.wait(0.1):
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
    "a body that never comes, of a length with zeros before it": (HEAD + b"Content-Length: %0100d\r\n\r\n" % 10, b""),
    "a large body that never comes": (HEAD + b"Content-Length: 10000000\r\n\r\n", b""),
    "does not hang up": (b"GET /nowhere HTTP/1.0\r\n\r\n", b""),
}


@pytest.mark.parametrize(("first", "drop"), SLOW.values(), ids=SLOW)
def test_nobody_waits_for_a_slow_client(settings: Settings, first: bytes, drop: bytes) -> None:
    done = threading.Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(connection(settings)) for _ in range(MANY)]
        threads = [threading.Thread(target=trickle, args=(client, first, drop, done)) for client in clients]
        stack.callback(lambda: [thread.join() for thread in threads])
        stack.callback(done.set)
        for thread in threads:
            thread.start()
        for _ in range(5):
            alive_within(settings, AT_ONCE_S)
            time.sleep(0.05)


@pytest.mark.parametrize("name", ["headers by the line", "a body by the byte", "a body that never comes"])
def test_a_request_that_does_not_arrive_is_408(settings: Settings, name: str) -> None:
    done = threading.Event()
    with connection(settings) as client:
        thread = threading.Thread(target=trickle, args=(client, *SLOW[name], done))
        started = time.perf_counter()
        thread.start()
        said = client.recv(65536)
        took = time.perf_counter() - started
        done.set()
        thread.join()
    status, error = answer(said)
    assert (status, error["code"]) == (408, "request_timeout")
    assert 0.9 * PATIENCE_S < took < 3 * PATIENCE_S


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "no HTTP": (b"hello there\r\n\r\n", 400, "bad_request"),
    "another version": (b"GET / HTTP/9.9\r\n\r\n", 400, "bad_request"),
    "a header without a colon": (b"GET / HTTP/1.1\r\nnonsense\r\n\r\n", 400, "bad_request"),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400, "bad_request"),
    "no such length": (HEAD + b"Content-Length: x\r\n\r\n{}", 400, "bad_request"),
    "a long line": (b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
    "a long header": (HEAD + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
    "many headers": (HEAD + b"X: a\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
    "a head without end": (HEAD + b"X: a\r\n" * MAX_HEAD, 431, "headers_too_large"),
    "a body of unsaid length": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", 411, "length_required"),
    "too large a body": (HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 400, "bad_request"),
    "far too large a body": (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, "bad_request"),
}


@pytest.mark.parametrize(("sent", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_refused_at_once_and_in_the_shape_of_every_error(
    settings: Settings, sent: bytes, status: int, code: str
) -> None:
    started = time.perf_counter()
    with connection(settings) as client:
        client.sendall(sent)
        said = until_closed(client)
    assert time.perf_counter() - started < AT_ONCE_S
    assert b"Content-Type: application/json" in said
    told, error = answer(said)
    assert (told, error["code"]) == (status, code)
    assert error["message"].endswith(".")
    page = requests.get(f"{settings.server.url}/metrics", timeout=10).text
    assert value(page, "refused_total", code=code) >= 1


def test_who_sends_ten_megabytes_reads_the_answer(settings: Settings) -> None:
    response = requests.post(f"{settings.server.url}/ml/rec", data=b"x" * 10_000_000, timeout=10)
    assert (response.status_code, response.json()["error"]["field"]) == (400, "body")


BODY = b'{"userid": -1}'
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def in_two(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    return ((data[:cut], data[cut:]) for cut in range(1, len(data), 7))


def read_response(client: socket.socket) -> int:
    """Read exactly one, and give its status."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += client.recv(1)
    head = said.decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0]) if "content-length" in head else 0
    while length:
        length -= len(client.recv(length))
    return int(head.split()[1])


def test_a_request_may_come_in_pieces_and_the_next_on_the_same_connection(settings: Settings) -> None:
    with connection(settings) as client:
        for first, rest in in_two(WHOLE):
            client.sendall(first)
            time.sleep(0.005)
            client.sendall(rest)
            assert read_response(client) == 400


@pytest.mark.parametrize("cut", [0, 1, 50, len(WHOLE)])
def test_requests_may_come_together(settings: Settings, cut: int) -> None:
    with connection(settings) as client:
        client.sendall(WHOLE + WHOLE + WHOLE[:cut])
        assert [read_response(client) for _ in range(2)] == [400, 400]
        client.sendall(WHOLE[cut:])
        assert read_response(client) == 400


def test_requests_sent_ahead_wait_with_the_client(settings: Settings, server: psutil.Process) -> None:
    """However many, the server takes no more than a few of them into its memory."""
    request = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
    stop = threading.Event()
    (worker,) = server.children()
    with connection(settings) as client:
        sender = threading.Thread(target=trickle, args=(client, b"", request * 500_000, stop))
        for _ in range(100):
            client.sendall(request)
            read_response(client)
        before = worker.memory_info().rss
        sender.start()
        for _ in range(200):
            assert read_response(client) == 200
        held = worker.memory_info().rss - before
        stop.set()
        client.shutdown(socket.SHUT_RDWR)
        sender.join()
    assert held < 4 * 2**20


def test_who_waits_to_be_asked_for_the_body_is_asked(settings: Settings) -> None:
    with connection(settings) as client:
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert read_response(client) == 100
        client.sendall(BODY)
        status = read_response(client)
        while status == 100:
            status = read_response(client)
        assert status == 400
