from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from data_exchange_center.steps import StepError
from online.bench import Answered, load, summarise


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[int]] = Counter()

    def do_POST(self) -> None:
        userid = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["userid"]
        self.asked[userid] += 1
        body = json.dumps({"took_ms": {"redis": 1.0, "total": float(userid)}}).encode()
        self.send_response(503 if userid == 13 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Handler.asked = Counter()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_every_user_is_asked_for_once(url: str) -> None:
    users = list(range(100, 137))
    seconds, answers = load(url, users, concurrency=5)
    assert Handler.asked == Counter(users)
    assert sorted(answer.took_ms["total"] for answer in answers) == users
    assert seconds > 0


def test_an_error_is_not_a_fast_answer(url: str) -> None:
    with pytest.raises(StepError, match="503 for user 13"):
        load(url, [1, 13], concurrency=1)


def test_summary() -> None:
    answers = [Answered(ms / 1e3, {"redis": 1.0, "total": ms / 2}) for ms in range(1, 101)]
    level = summarise(4, 2.0, [*answers, Answered(0.05, {"total": 25.0})])
    assert (level.concurrency, level.requests, level.requests_per_s) == (4, 101, 50.5)
    assert level.p50_ms == pytest.approx(50, abs=1)
    assert level.p99_ms == pytest.approx(99, abs=1)
    assert level.stage_p50_ms == {"redis": 1.0, "total": pytest.approx(25, abs=0.6)}
