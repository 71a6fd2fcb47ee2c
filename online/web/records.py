"""One request as it is seen from outside: its record, and its line in the log; extras observe records, too.

The log is JSON, one object a line, one line a request.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from flask import Flask, Response, g, has_request_context, request

from online.recommend.types import Answer, Outcome, Stopwatch
from online.web.asgi import COMPLETE_SINCE

log = logging.getLogger("online.access")

HEADER: Final = "X-Request-ID"
_GIVEN = re.compile(r"[\w.-]{1,64}", re.ASCII)
UNMATCHED: Final = "unmatched"  # the endpoint of a path that there is not
_PATH = 100  # characters of a path that are logged


# --- a request's record


@dataclass(slots=True)
class Record:
    """One request.

    Attributes:
        id: the client's own when it sent a sane one.
        endpoint: the rule that its path matches, never the path itself.
        outcome: "personal", "cold_start" or "degraded" for an answer, the error's code for an error, else empty.
        degradations: what an answer lacks.
        facts: whatever else its line in the log should say; no secrets.
    """

    id: str
    endpoint: str
    watch: Stopwatch = field(default_factory=Stopwatch)
    status: int = 0
    seconds: float = 0.0
    outcome: str = ""
    degradations: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def recommended(self, answer: Answer) -> None:
        """Record how a recommendation ended."""
        self.degradations = tuple(o.value for o in answer.outcomes if o is not Outcome.COLD_START)
        self.outcome = "degraded" if self.degradations else "cold_start" if answer.cold_start else "personal"
        self.facts |= {"recommendation": answer.recommendation, "release": answer.release}
        if self.degradations:
            self.facts["degraded"] = self.degradations


Observer = Callable[[Record], None]


def current() -> Record:
    """The record of the request that is being answered."""
    record: Record = g.record
    return record


def register_records(app: Flask, observers: Sequence[Observer]) -> None:
    """Give every request a record and an id, and call the observers with it when it has its response."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get(HEADER, "")
        g.record = Record(
            id=given if _GIVEN.fullmatch(given) else uuid.uuid4().hex[:16],
            endpoint=request.url_rule.rule if request.url_rule else UNMATCHED,
            watch=Stopwatch(request.environ.get(COMPLETE_SINCE)),  # the wait for a thread counts
        )

    @app.after_request
    def end(response: Response) -> Response:
        record = current()
        record.status = response.status_code
        record.seconds = record.watch.seconds()
        response.headers[HEADER] = record.id
        for observer in observers:
            observer(record)
        return response


# --- the log


def log_request(record: Record) -> None:
    """One line, with the facts as fields of their own. Without the query string: a key may have been put there."""
    if not log.isEnabledFor(logging.INFO):
        return
    facts = {
        "method": request.method,
        "path": request.path[:_PATH],
        "status": record.status,
        "ms": round(record.seconds * 1e3, 1),
        **({"outcome": record.outcome} if record.outcome else {}),
        **record.facts,
        **{f"{name}_ms": round(stage.seconds * 1e3, 1) for name, stage in record.watch.stages.items()},
    }
    log.info("request", extra={"facts": facts})


class JsonLines(logging.Formatter):
    """time (UTC), level, logger, message; the id of the request it was said in; ``facts`` as fields of their own."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if has_request_context() and "record" in g:
            line["id"] = current().id
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json() -> None:
    """Everything the process logs, from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
