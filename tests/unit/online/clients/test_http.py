import socket
import ssl
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from online.clients import http as client_http
from online.clients.base import Deadline, until
from online.clients.http import Http, HttpAnswer, UnreadableError
from tests.http_server import serving
from tests.unit.online import trickling


def echo(request: Any, body: bytes) -> tuple[int, bytes]:
    """Echoes the request, with the path's number as the status."""
    return int(request.path[1:]), body or request.command.encode()


@contextmanager
def talking(talk: Callable[[socket.socket], object]) -> Iterator[str]:
    """The URL of a server that reads a request, talks by a script, and hangs up."""
    with trickling.talking(
        lambda client: (client.recv(64 * 1024), talk(client))
    ) as port:
        yield f"http://127.0.0.1:{port}"


def to(*urls: str, **more: Any) -> closing[Http]:
    """Connections to servers, closed at the end."""
    return closing(Http(*urls, **{"timeout_s": 5, **more}))


@contextmanager
def answering(respond: Callable[..., Any], **more: Any) -> Iterator[Http]:
    """Connections to a server of HTTP."""
    with serving(respond) as port, to(f"http://127.0.0.1:{port}", **more) as http:
        yield http


def answer(body: str, length: int | None = None) -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return lambda client: client.sendall((head + body).encode())


def test_status_and_body_come_back_whatever_the_status_is() -> None:
    with answering(echo) as http:
        assert http.post("/200", b"{}") == HttpAnswer(200, b"{}")
        assert http.get("/503") == HttpAnswer(503, b"GET")
        large = bytes(range(256)) * 4_000
        assert http.post("/404", large) == HttpAnswer(404, large)
        assert http.get("/200") == HttpAnswer(200, b"GET")


def test_headers_and_login_are_sent_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    seen: list[Any] = []

    def note(request: Any, body: bytes) -> tuple[int, bytes]:
        seen.append(request.headers)
        return 200, body

    with answering(note, login=("elastic", "söcret")) as http:
        http.post("/", b"{}" * 2_000, "Content-Type: application/x-ndjson")
        http.get("/")
    first, second = seen
    login = b64encode("elastic:söcret".encode()).decode()
    assert first["Content-Type"] == "application/x-ndjson"
    assert first["Authorization"] == f"Basic {login}"
    assert "Expect" not in first
    assert "Content-Type" not in second


def test_a_closed_connection_is_reopened() -> None:
    with talking(answer("ok")) as url, to(url) as http:
        assert [http.post("/", b"{}").body for _ in range(3)] == [b"ok"] * 3


def test_an_answer_without_end_is_given_up() -> None:
    def flood(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            client.sendall(bytes(1024 * 1024))

    too_long = pytest.raises(UnreadableError, match="maximum")
    with talking(flood) as url, to(url, timeout_s=60) as http, too_long:
        http.get("/")


def test_a_timeout_leaves_other_connections_open() -> None:
    """Otherwise one client in a hurry would have everybody reconnect."""
    arrived, over, connections = threading.Semaphore(0), threading.Event(), set()

    def waits(request: Any, body: bytes) -> tuple[int, bytes]:
        connections.add(request.client_address[1])
        if request.path == "/202":
            arrived.release()
            over.wait(60)
        return echo(request, body)

    with answering(waits, timeout_s=60) as http:
        slow = threading.Thread(target=http.get, args=("/202",), daemon=True)
        slow.start()
        assert arrived.acquire(timeout=60)
        http.get("/200")  # during the slow one, so there are two connections
        over.set()
        slow.join(60)
        over.clear()
        with until(Deadline.after(0.05)), pytest.raises(TimeoutError):
            http.get("/202")
        http.get("/200")
        over.set()
        assert len(connections) == 2


def test_https_trusts_only_the_given_authority(tmp_path: Path) -> None:
    authority, ca_certs = trustme.CA(), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(ca_certs))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)

    def talk(client: socket.socket) -> None:
        with tls.wrap_socket(client, server_side=True) as encrypted:
            encrypted.recv(64 * 1024)
            answer("ok")(encrypted)

    with trickling.talking(talk) as port:
        with to(f"https://localhost:{port}", ca_certs=ca_certs) as http:
            assert http.post("/", b"{}") == HttpAnswer(200, b"ok")
        refused = pytest.raises(UnreadableError, match="certificate")
        for name, known in (("localhost", None), ("127.0.0.1", ca_certs)):
            with to(f"https://{name}:{port}", ca_certs=known) as http, refused:
                http.get("/")


@contextmanager
def named(*names: str) -> Iterator[list[str]]:
    """Servers that answer with their names, by URL."""
    with ExitStack() as servers:
        yield [servers.enter_context(talking(answer(name))) for name in names]


@contextmanager
def nobody() -> Iterator[str]:
    """The URL of a port that is held and that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def requested(http: Http, times: int) -> Counter[str]:
    return Counter(http.get("/").body.decode() for _ in range(times))


def test_a_dead_node_is_skipped_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_http, "DOWN_S", 600.0)
    calls: list[object] = []
    with (
        nobody() as refusing,
        talking(calls.append) as resetting,
        named("b", "c") as urls,
        to(refusing, resetting, *urls) as http,
    ):
        assert set(requested(http, 30)) == {"b", "c"}
    assert len(calls) == 1


def test_a_truncated_answer_is_retried_on_the_next_node() -> None:
    with talking(answer("part", length=100)) as cutting, named("b") as (other,):
        with to(cutting, other) as http:
            assert http.get("/").body == b"b"
        with to(cutting) as http, pytest.raises(ConnectionResetError):
            http.get("/")


def test_one_that_comes_back_is_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_http, "DOWN_S", 0.0)
    gone = True
    with (
        talking(lambda client: gone or answer("back")(client)) as url,
        named("b") as (other,),
        to(url, other) as http,
    ):
        assert requested(http, 4) == {"b": 4}
        gone = False
        assert requested(http, 4) == {"back": 2, "b": 2}


def test_one_that_takes_all_the_time_costs_one_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_http, "DOWN_S", 600.0)
    over = threading.Event()
    with talking(lambda _: over.wait(60)) as slow, named("b") as (other,):
        with to(slow, other) as http:
            with until(Deadline.after(0.5)), pytest.raises(TimeoutError):
                http.get("/")
            assert requested(http, 5) == {"b": 5}
        over.set()


def test_where_none_answers_the_last_ones_error_is_raised() -> None:
    with nobody() as first, nobody() as second:
        for urls in ([first], [first, second]):
            with to(*urls) as http, pytest.raises(ConnectionRefusedError):
                http.get("/")
