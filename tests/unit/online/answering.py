"""A server that answers at once: what a benchmark of requests is tested against."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[int]] = Counter()
    stalls_until: ClassVar[float | None] = None
    stall_s: ClassVar[float] = 0.0

    def do_POST(self) -> None:
        if Handler.stalls_until is None:
            Handler.stalls_until = time.monotonic() + self.stall_s
        time.sleep(max(Handler.stalls_until - time.monotonic(), 0.0))
        userid = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["userid"]
        self.asked[userid] += 1
        body = json.dumps(
            {"release": "b" if userid == 7 else "a", "took_ms": {"redis": 1.0, "total": float(userid)}}
        ).encode()
        self.send_response(503 if userid == 13 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def answering(stall_s: float = 0.0) -> Iterator[str]:
    """Its address. Release b for user 7, an error for user 13, release a for the others.

    ``stall_s``: for so long after the first request, nobody is answered.
    """
    Handler.asked, Handler.stalls_until, Handler.stall_s = Counter(), None, stall_s
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
