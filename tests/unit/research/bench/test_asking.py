"""When a server is ready to be measured."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from research.bench.asking import becomes_ready

DEGRADED = {"ready": False, "status": "degraded"}


class Readyz(http.server.BaseHTTPRequestHandler):
    said: list[dict[str, Any]]  # one after the other; the last one again and again

    def do_GET(self) -> None:
        body = json.dumps(self.said.pop(0) if len(self.said) > 1 else self.said[0]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Readyz) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_answers_without_a_service_is_not_ready(url: str) -> None:
    Readyz.said = [DEGRADED]
    assert not becomes_ready(url, within_s=0.1)


def test_it_is_waited_for_until_all_services_are_there(url: str) -> None:
    Readyz.said = [DEGRADED, {"ready": True, "status": "ready"}]
    assert becomes_ready(url)
    assert len(Readyz.said) == 1
