"""The server as `make serve` runs it: too many at once, the end of a worker, numbers of all workers, secrets."""

import json
import resource
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr

from data_exchange_center.settings import ServerSettings, Settings
from examples.recent_channel import RECIPE
from extras.keys import store as keys
from online.web.asgi import MAX_BODY, RETRY_AFTER_S
from stack import server as stack_server
from stack.images import entry_points
from stack.service import ROOT
from tests.free_ports import change, settings_on_free_ports
from tests.prometheus import requests_of, value
from tests.services.online.load import running
from tests.waiting import until

THREADS, IN_FLIGHT, BEYOND = 2, 8, 8
REDIS_TIMEOUT_S = 5.0  # a busy machine has all requests there before, and has refused those that are too many


@contextmanager
def stuck(folder: Path) -> Iterator[Settings]:
    """A server whose Redis takes connections and says nothing."""
    on_port = {"timeout_s": REDIS_TIMEOUT_S, "socket_dir": None}
    settings = change(settings_on_free_ports(folder), "redis", **on_port)
    with (
        socket.create_server(("127.0.0.1", settings.redis.port), backlog=200),
        running(
            folder,
            settings,
            workers=1,
            threads=THREADS,
            max_in_flight=IN_FLIGHT,
        ) as (settings, _),
    ):
        yield settings


def read(settings: Settings, path: str, status: int = 200) -> str:
    response = requests.get(f"{settings.server.url}/{path}", timeout=30)
    assert response.status_code == status
    return response.text


def ask(settings: Settings) -> tuple[float, requests.Response]:
    """Seconds, and the answer to a request that waits for Redis."""
    began = time.perf_counter()
    response = requests.get(f"{settings.server.url}/ml/experiments", timeout=90)
    return time.perf_counter() - began, response


def test_requests_beyond_the_queue_get_503_and_healthz_answers(tmp_path: Path) -> None:
    with stuck(tmp_path) as settings:
        with ThreadPoolExecutor(IN_FLIGHT + BEYOND) as clients:
            requested = [
                clients.submit(ask, settings) for _ in range(IN_FLIGHT + BEYOND)
            ]
            one = HTTPConnection(settings.server.host, settings.server.port, timeout=90)
            refused = lambda: [  # noqa: E731
                a.result()
                for a in requested
                if a.done() and a.result()[1].status_code == 503
            ]
            until(lambda: len(refused()) >= BEYOND)
            for path in ("healthz", "metrics"):
                read(settings, path)
            one.request("POST", "/ml/rec", b'{"userid": 1}')
            response = one.getresponse()
            assert json.loads(response.read())["error"]["code"] == "overloaded"
            one.auto_open = 0  # type: ignore[assignment]  # a connection that is closed is not made again
            one.request("POST", "/ml/rec", b'{"userid": -1}')
            one.getresponse().read()
        overloaded = [
            (s, r) for s, r in refused() if r.json()["error"]["code"] == "overloaded"
        ]
        assert len(overloaded) == BEYOND
        for seconds, answer in overloaded:
            assert seconds < 0.75 * REDIS_TIMEOUT_S
            assert answer.headers["Retry-After"] == str(RETRY_AFTER_S)
        refused_total = value(
            read(settings, "metrics"), "refused_total", code="overloaded"
        )
        assert refused_total >= BEYOND + 1
        assert ask(settings)[1].json()["error"]["code"] != "overloaded"


# Workers


def test_a_server_that_is_stopped_answers_what_it_has_in_hand(tmp_path: Path) -> None:
    with stuck(tmp_path) as settings, ThreadPoolExecutor(IN_FLIGHT) as clients:
        requested = [clients.submit(ask, settings) for _ in range(THREADS)]
        in_flight = "requests_in_flight"
        until(lambda: value(read(settings, "metrics"), in_flight) == THREADS)
    # here the server has ended
    assert [answer.result()[1].json()["error"]["service"] for answer in requested] == [
        "redis"
    ] * THREADS
    assert "SIGKILL" not in (tmp_path / "server.log").read_text()


def test_gunicorn_opens_no_control_socket(tmp_path: Path) -> None:
    """Which would lie in the home folder, shared by all stacks."""
    with running(tmp_path, workers=1) as (settings, master):
        (worker,) = master.children()
        until(lambda: (settings.workers_dir("workers") / str(worker.pid)).exists())
        assert [
            each.laddr for each in master.net_connections("unix") if each.laddr
        ] == []


def test_workers_are_counted_together(tmp_path: Path) -> None:
    with running(tmp_path, workers=2, threads=3) as (settings, master):

        def page() -> str:
            return read(settings, "metrics")

        for _ in range(30):  # a connection each, so that both workers get some
            read(settings, "nowhere", 404)
        assert requests_of(page(), 404, "not_found", "unmatched") == 30
        until(lambda: value(page(), "threads") == 6)
        former = master.children()
        until(
            lambda: stack_server.workers(settings) == {worker.pid for worker in former}
        )
        former[0].kill()
        until(lambda: len(stack_server.workers(settings) - {former[0].pid}) == 2)
        # the dead one's threads are gone, the new one's have come
        until(
            lambda: value(page(), "threads") == 6, despite=(requests.ConnectionError,)
        )
        # what the dead one counted stays
        assert requests_of(page(), 404, "not_found", "unmatched") == 30
        left = [path.name for path in settings.service_dir("server").rglob("*.db")]
        assert not [
            name for name in left if "live" in name and str(former[0].pid) in name
        ]
    with running(tmp_path, port=settings.server.port, workers=1):
        assert requests_of(page(), 404, "not_found", "unmatched") == 0
        assert value(page(), "threads") == ServerSettings().threads


def test_a_recipe_file_with_a_channel_of_an_installed_package(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "pyproject.toml", tmp_path)
    entry_points.main(tmp_path)
    recipe = tmp_path / "recent.json"
    recipe.write_text(RECIPE.model_dump_json(), encoding="utf-8")
    settings = settings_on_free_ports(tmp_path).model_copy(
        update={"recipe_name": str(recipe)}
    )
    (tmp_path / "recsys_pipeline.dist-info").rename(
        tmp_path / "recsys_examples.dist-info"
    )
    with running(tmp_path, settings, {"PYTHONPATH": str(tmp_path)}, workers=1) as (
        settings,
        _,
    ):
        read(settings, "healthz")


# Secrets are in no log, no answer and no metric, whatever goes wrong

REDIS, ELASTIC, OWN = "hush-redis", "hush-elastic", "hush-own-key"


def test_secrets_appear_nowhere(tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    settings = change(settings, "redis", password=SecretStr(REDIS))
    settings = change(settings, "elasticsearch", password=SecretStr(ELASTIC))
    key = keys.add(settings.keys_file, "shop")
    digest = keys.read(settings.keys_file)["shop"].digest
    more = {
        "workers": 1,
        "keys_for": "all",
        "rate": "100/second",
        "key": SecretStr(OWN),
    }
    with running(tmp_path, settings, **more) as (settings, _):
        url, good = settings.server.url, {"Authorization": f"Bearer {key}"}
        wrong = {"Authorization": f"Bearer {key}x"}
        sent = [
            ("POST", "ml/rec", good, 1),  # no service is there
            ("POST", f"ml/rec?key={key}", good, 0),
            ("POST", "ml/rec", wrong, 1),
            ("GET", "ml/rec", good, None),
            ("GET", "readyz", {}, None),
            ("GET", "metrics", good, None),
        ]
        answers = [
            requests.request(
                method,
                f"{url}/{path}",
                headers=headers,
                json=None if userid is None else {"userid": userid},
                timeout=30,
            )
            for method, path, headers, userid in sent
        ]
    assert [answer.status_code for answer in answers] == [503, 400, 401, 405, 503, 200]
    log = (tmp_path / "server.log").read_text()
    assert '"key": "shop"' in log
    reported = log + "".join(answer.text + str(answer.headers) for answer in answers)
    assert [
        secret for secret in (REDIS, ELASTIC, OWN, key, digest) if secret in reported
    ] == []


# Hostile requests to the server as `make serve` runs it: none stops it, gets into it, or gets what is another's.


ARRIVES_WITHIN_S = 16.0
AT_ONCE_S = 12.0  # on a busy machine, and without having waited for anybody
SLOW_CLIENTS = 200  # the server has two threads
HEAD = b"POST /ml/rec HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BAD_BODY = b'{"userid": -1}'
# answered without a service: 400
BAD = HEAD + b"Content-Length: %d\r\n\r\n" % len(BAD_BODY) + BAD_BODY


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a server without services."""
    folder = tmp_path_factory.mktemp("gunicorn")
    with running(folder, workers=1, threads=2, arrival_timeout_s=ARRIVES_WITHIN_S) as (
        settings,
        _,
    ):
        yield settings


@contextmanager
def connection(settings: Settings) -> Iterator[socket.socket]:
    with socket.create_connection(
        ("127.0.0.1", settings.server.port), timeout=60
    ) as client:
        yield client


def is_answered_at_once(settings: Settings) -> None:
    """A request that no service is needed for."""
    started = time.perf_counter()
    url = f"{settings.server.url}/ml/rec"
    response = requests.post(url, data=BAD_BODY, timeout=30)
    assert response.json()["error"]["field"] == "userid"
    assert time.perf_counter() - started < AT_ONCE_S


def refusals(settings: Settings, code: str) -> float:
    page = requests.get(f"{settings.server.url}/metrics", timeout=30).text
    return value(page, "refused_total", code=code)


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
    left = 0
    if "content-length" in head:
        left = int(head.split("content-length: ")[1].split("\r\n")[0])
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
# those that the server gives up by a deadline of its own
LATE = {
    name: SLOW[name]
    for name in (
        "says nothing",
        "headers by the byte",
        "a body by the byte",
        "a body that never comes",
    )
}


@pytest.mark.parametrize(("first", "drop"), SLOW.values(), ids=SLOW)
def test_nobody_waits_for_slow_clients(
    settings: Settings, first: bytes, drop: bytes
) -> None:
    done = threading.Event()
    with ExitStack() as stack, ThreadPoolExecutor(SLOW_CLIENTS) as threads:
        stack.callback(done.set)
        for _ in range(SLOW_CLIENTS):
            client = stack.enter_context(connection(settings))
            client.sendall(first)
            threads.submit(trickle, client, drop, done)
        for _ in range(5):
            is_answered_at_once(settings)
        done.set()


@pytest.mark.parametrize(("first", "drop"), LATE.values(), ids=LATE)
def test_a_head_or_body_that_does_not_arrive_ends_the_connection(
    settings: Settings, first: bytes, drop: bytes
) -> None:
    done, started = threading.Event(), time.perf_counter()
    with connection(settings) as client, ThreadPoolExecutor(1) as threads:
        client.sendall(first)
        threads.submit(trickle, client, drop, done)
        said = until_closed(client)
        done.set()
    assert time.perf_counter() - started > 0.9 * ARRIVES_WITHIN_S
    if b"Content-Length" not in first:
        assert said == b""
        return
    head, _, body = said.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == 408
    assert json.loads(body)["error"]["code"] == "request_timeout"


BY_THE_EDGE: dict[str, tuple[bytes, int, str]] = {
    "a body of unsaid length": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        411,
        "length_required",
    ),
    "too large a body": (
        HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1),
        413,
        "body_too_large",
    ),
}
BY_GUNICORN: dict[str, tuple[bytes, int]] = {
    "no HTTP": (b"hello there\r\n\r\n", 400),
    "a long line": (b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\n\r\n", 414),
    "a long header": (HEAD + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "many headers": (HEAD + b"X: a\r\n" * 200 + b"\r\n", 431),
    "a head without end": (HEAD + b"X: a\r\n" * 16_384, 431),
}


@pytest.mark.parametrize(
    ("sent", "status", "code"), BY_THE_EDGE.values(), ids=BY_THE_EDGE
)
def test_invalid_heads_are_refused_before_the_body_is_read(
    settings: Settings, sent: bytes, status: int, code: str
) -> None:
    with connection(settings) as client:
        client.sendall(sent)
        head, _, body = until_closed(client).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert json.loads(body)["error"]["code"] == code
    assert refusals(settings, code) >= 1


@pytest.mark.parametrize(("sent", "status"), BY_GUNICORN.values(), ids=BY_GUNICORN)
def test_a_malformed_request_closes_the_connection(
    settings: Settings, sent: bytes, status: int
) -> None:
    with connection(settings) as client:
        with suppress(ConnectionError):
            client.sendall(sent)
        assert int(until_closed(client).split()[1]) == status


def test_fragmented_and_pipelined_requests_are_answered(settings: Settings) -> None:
    with connection(settings) as client:
        for cut in range(1, len(BAD), 7):
            client.sendall(BAD[:cut])
            client.sendall(BAD[cut:])
            assert read_response(client)[0] == 400
        client.sendall(BAD + BAD)  # and two at once
        assert [read_response(client)[0] for _ in range(2)] == [400, 400]
        client.sendall(
            HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BAD_BODY)
        )
        assert read_response(client)[0] == 100
        client.sendall(BAD_BODY)
        assert read_response(client)[0] == 400


SILENT, FILES = 2_000, 1_024


def test_silent_connections_do_not_keep_others_from_answers(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limits[1] < 2 * SILENT:
        pytest.skip(
            f"this test needs {2 * SILENT} open files, and the hard limit is {limits[1]}"
        )
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        # which the server inherits
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, limits[1]))
        settings, master = stack.enter_context(
            running(tmp_path, workers=1, threads=2, arrival_timeout_s=60.0)
        )
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * SILENT, limits[1]))
        for number in range(SILENT):
            stack.enter_context(connection(settings))
            if number % 200 == 0:
                is_answered_at_once(settings)
        (worker,) = master.children()
        assert worker.num_fds() < FILES
        assert refusals(settings, "too_many_connections") > SILENT - FILES
    assert "Too many open files" not in (tmp_path / "server.log").read_text()


UNREAD, MOST = 55, 50
MANY = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 60


def read_slowly(client: socket.socket, done: threading.Event) -> None:
    while not done.wait(0.5):
        with suppress(OSError):
            client.recv(1024)


@pytest.mark.parametrize(
    "trickles", [False, True], ids=["reads nothing", "reads slowly"]
)
def test_clients_that_do_not_read_do_not_keep_others_from_answers(
    tmp_path: Path, trickles: bool
) -> None:
    done = threading.Event()
    with ExitStack() as stack:
        settings, master = stack.enter_context(
            running(
                tmp_path,
                workers=1,
                max_connections=MOST,
                arrival_timeout_s=ARRIVES_WITHIN_S,
            )
        )
        threads = stack.enter_context(ThreadPoolExecutor(UNREAD))
        stack.callback(done.set)
        for _ in range(UNREAD):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            client.connect(("127.0.0.1", settings.server.port))
            client.sendall(MANY)
            if trickles:
                threads.submit(read_slowly, client, done)
        for _ in range(15):
            started = time.perf_counter()
            response = requests.get(f"{settings.server.url}/healthz", timeout=30)
            assert response.ok
            assert time.perf_counter() - started < AT_ONCE_S
        (worker,) = master.children()
        if not trickles:  # its deadline ends each of them
            until(lambda: len(worker.net_connections("tcp")) < UNREAD // 5)


# Attacks of a web page, or of anyone who finds the port


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../../../etc/passwd",
        "/page/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/page/..%2f..%2f..%2fs1_server.py",
        "/page/....//....//etc/passwd",
        "/static/../main/s1_server.py",
        "/%00",
        "/%ff%fe",
        "//evil.example/",
    ],
)
def test_no_path_leads_out_of_the_page(settings: Settings, path: str) -> None:
    with connection(settings) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status, body = read_response(client)
    assert status == 404
    assert json.loads(body)["error"]["code"] == "not_found"


INNER = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKS = b"\r\n\r\n0\r\n\r\n"
SMUGGLED: dict[str, bytes] = {
    "a length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked" + CHUNKS,
    "chunks in disguise": b"Content-Length: 4\r\nTransfer-Encoding : chunked" + CHUNKS,
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"
    + CHUNKS,
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(INNER),
    "lengths in a list": b"Content-Length: 0, %d\r\n\r\n" % len(INNER),
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a line feed alone": b"X: a\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED)
def test_no_request_hides_in_another(settings: Settings, rest: bytes) -> None:
    with connection(settings) as client:
        client.sendall(HEAD + rest + INNER)
        said = until_closed(client)
    assert int(said.split()[1]) in (400, 411, 501)
    assert said.count(b"HTTP/1.1 ") == 1, "the connection ends with the refusal"
