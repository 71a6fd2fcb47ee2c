"""HAProxy before two made-up servers: what it retries, what it does not, and which server gets requests if none is."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests

from stack.service import LOOPBACK
from tests.cluster.processes import balanced
from tests.http_server import serving
from tests.waiting import until

TIMES = 12


class MadeUp:
    """Counts what it is sent; may be unhealthy, or end a connection instead of an answer."""

    def __init__(self, *, healthy: bool = True, answers: bool = True) -> None:
        self.healthy, self.answers = healthy, answers
        self.sent: Counter[str] = Counter()

    def __call__(self, request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, bytes]:
        if request.command == "GET":
            return 200 if self.healthy else 503, b""
        self.sent[request.path] += 1
        if not self.answers:
            raise ConnectionAbortedError
        return 200, b""


@contextmanager
def behind_haproxy(folder: Path, one: MadeUp, other: MadeUp) -> Iterator[str]:
    with ExitStack() as ends:
        first, second = (
            f"{LOOPBACK}:{ends.enter_context(serving(each))}" for each in (one, other)
        )
        yield ends.enter_context(balanced((first, second), folder))


def post(url: str, path: str) -> int:
    return requests.post(f"{url}{path}", json={}, timeout=30).status_code


def test_recommendations_are_retried_and_events_sent_once(tmp_path: Path) -> None:
    good, bad = MadeUp(), MadeUp(answers=False)
    with behind_haproxy(tmp_path, good, bad) as url:
        requested = Counter(post(url, "/ml/rec") for _ in range(TIMES))
        reported = Counter(post(url, "/ml/event") for _ in range(TIMES))
    assert requested == {200: TIMES}
    assert bad.sent["/ml/rec"] > 0
    assert good.sent["/ml/event"] + bad.sent["/ml/event"] == TIMES
    assert reported == {200: good.sent["/ml/event"], 502: bad.sent["/ml/event"]}
    assert bad.sent["/ml/event"] > 0


@pytest.mark.parametrize(
    ("healthy", "noticed"), [(True, "server-2 is DOWN"), (False, "no server available")]
)
def test_unhealthy_backends_are_used_only_if_all_are_unhealthy(
    tmp_path: Path, healthy: bool, noticed: str
) -> None:
    log = tmp_path / "haproxy.log"
    one, other = MadeUp(healthy=healthy), MadeUp(healthy=False)
    with behind_haproxy(tmp_path, one, other) as url:
        until(lambda: noticed in log.read_text())
        assert Counter(post(url, "/ml/rec") for _ in range(TIMES)) == {200: TIMES}
    assert one.sent["/ml/rec"] > 0
    assert (other.sent["/ml/rec"] > 0) is not healthy
