"""Record of one request: collected on its way, then written to the log, the metrics and the trace."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Flask, Response, g, request

from online.recommend.types import Answer, Outcome, Stopwatch
from online.web.limits import COMPLETE_SINCE

HEADER: Final = "X-Request-ID"
_GIVEN = re.compile(r"[\w.-]{1,64}", re.ASCII)
UNMATCHED: Final = "unmatched"  # the endpoint of a path that there is not


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

    def answered(self, answer: Answer) -> None:
        """Take down how a recommendation ended."""
        self.degradations = tuple(o.value for o in answer.outcomes if o is not Outcome.COLD_START)
        cold = Outcome.COLD_START in answer.outcomes
        self.outcome = "degraded" if self.degradations else "cold_start" if cold else "personal"
        self.facts["release"] = answer.release
        if self.degradations:
            self.facts["degraded"] = self.degradations


Observer = Callable[[Record], None]


def register_records(app: Flask, observers: Sequence[Observer]) -> None:
    """Give every request a record and an id, and tell the observers of it when it has its response."""

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


def current() -> Record:
    """The record of the request that is being answered."""
    record: Record = g.record
    return record
