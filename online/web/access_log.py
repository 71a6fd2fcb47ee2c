"""One line a request: id, user, release, outcome and the milliseconds of each stage."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

from flask import Flask, Response, g, request

log = logging.getLogger("online.access")

_GIVEN = re.compile(r"[\w.-]{1,64}", re.ASCII)
HEADER = "X-Request-Id"


def register_access_log(app: Flask) -> None:
    """Give each request an id, the client's own when it sent a sane one, and log how it ended."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get(HEADER, "")
        g.started = time.perf_counter()
        g.request_id = given if _GIVEN.fullmatch(given) else uuid.uuid4().hex[:16]
        g.facts = {}

    @app.after_request
    def end(response: Response) -> Response:
        response.headers[HEADER] = g.request_id
        if log.isEnabledFor(logging.INFO):
            facts = " ".join(f"{name}={value}" for name, value in g.facts.items())
            took_ms = (time.perf_counter() - g.started) * 1e3
            log.info(
                "id=%s method=%s path=%s status=%d ms=%.1f %s",
                g.request_id, request.method, _safe(request.path), response.status_code, took_ms, facts,
            )  # fmt: skip
        return response


def note(**facts: Any) -> None:
    """Add to this request's line."""
    g.facts.update(facts)


def _safe(path: str) -> str:
    """A path on one line, whatever somebody put into it."""
    return path[:100].encode("unicode_escape").decode()
