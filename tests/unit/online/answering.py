"""A server that answers at once: what a benchmark of requests is tested against."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.http_server import serving


@contextmanager
def answering(asked: Counter[int] | None = None, stall_s: float = 0.0) -> Iterator[str]:
    """Its address. Release b for user 7, an error for user 13, release a for the others.

    ``asked``: counts the users; ``stall_s``: for so long after the first request, nobody is answered.
    """
    until: list[float] = []

    def answer(_: object, body: bytes) -> tuple[int, bytes]:
        if not until:
            until.append(time.monotonic() + stall_s)
        time.sleep(max(until[0] - time.monotonic(), 0.0))
        userid = json.loads(body)["userid"]
        if asked is not None:
            asked[userid] += 1
        told = {"release": "b" if userid == 7 else "a", "took_ms": {"redis": 1.0, "total": float(userid)}}
        return 503 if userid == 13 else 200, json.dumps(told).encode()

    with serving(answer) as port:
        yield f"http://127.0.0.1:{port}"
