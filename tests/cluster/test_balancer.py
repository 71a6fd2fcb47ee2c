"""HAProxy before two made-up servers: what it asks twice, what it does not, and whom it asks where none is healthy."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from online.stack.service import LOOPBACK
from tests.cluster.processes import balanced
from tests.waiting import until

TIMES = 12


class MadeUp(ThreadingHTTPServer):
    """Counts what it is sent; may be unhealthy, or end a connection instead of an answer."""

    def __init__(self, *, healthy: bool = True, answers: bool = True) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.healthy, self.answers = healthy, answers
        self.sent: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: MadeUp

    def do_GET(self) -> None:
        self._say(200 if self.server.healthy else 503)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.sent[self.path] += 1
        if self.server.answers:
            self._say(200)

    def _say(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(*servers: MadeUp) -> Iterator[None]:
    with ExitStack() as ends:
        for each in servers:
            ends.callback(each.server_close)
            threading.Thread(target=each.serve_forever, daemon=True).start()
            ends.callback(each.shutdown)
        yield


def post(url: str, path: str) -> int:
    return requests.post(f"{url}{path}", json={}, timeout=30).status_code


def test_a_recommendation_is_asked_for_again_and_an_event_is_sent_once(tmp_path: Path) -> None:
    good, bad = MadeUp(), MadeUp(answers=False)
    with answering(good, bad), balanced("server", [good.address, bad.address], tmp_path) as url:
        asked = Counter(post(url, "/ml/rec") for _ in range(TIMES))
        told = Counter(post(url, "/ml/event") for _ in range(TIMES))
    assert asked == {200: TIMES}
    assert bad.sent["/ml/rec"] > 0
    assert good.sent["/ml/event"] + bad.sent["/ml/event"] == TIMES
    assert told == {200: good.sent["/ml/event"], 502: bad.sent["/ml/event"]}
    assert bad.sent["/ml/event"] > 0


@pytest.mark.parametrize(("healthy", "noticed"), [(True, "server-2 is DOWN"), (False, "no server available")])
def test_who_is_not_healthy_is_asked_only_where_nobody_is(tmp_path: Path, healthy: bool, noticed: str) -> None:
    log = tmp_path / "haproxy.log"
    one, other = MadeUp(healthy=healthy), MadeUp(healthy=False)
    with answering(one, other), balanced("server", [one.address, other.address], tmp_path) as url:
        until(lambda: noticed in log.read_text())
        assert Counter(post(url, "/ml/rec") for _ in range(TIMES)) == {200: TIMES}
    assert one.sent["/ml/rec"] > 0
    assert (other.sent["/ml/rec"] > 0) is not healthy
