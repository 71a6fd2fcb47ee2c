"""One request as it is seen from outside: its record, and the log and metrics that are made of it.

The log is JSON, one object a line, one line a request. `/metrics` is one page for all of gunicorn's workers: each
writes its numbers to files of its own in the folder that PROMETHEUS_MULTIPROC_DIR names (online/gunicorn_conf.py), and
whichever is asked adds them up. Without that folder, as under Flask's own server, a process tells of itself alone.
Labels have few values: endpoints, codes, services; never a user, an id or a path.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, g, has_request_context, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from online.recommend.recommend import Recommender
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
        """Take down how a recommendation ended."""
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


# --- the metrics

METRICS_PATH: Final = "/metrics"
_TOGETHER: Final = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported
_BREAKER_STATES: Final = {"closed": 0, "half_open": 1, "open": 2}
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.15, 0.25, 0.3, 0.5, 1.0, 2.5, 5.0)  # seconds
_SAMPLED_EVERY_S: Final = 1.0


class Metrics:
    """Counters and gauges of one process."""

    def __init__(self, recommender: Recommender, threads: int, folder: Path) -> None:
        """Make them; extras add theirs to ``registry``.

        Args:
            recommender: whose state is sampled about once a second.
            threads: how many requests the process can answer at once.
            folder: of gunicorn's workers; `page` is of all of them where the environment names it.
        """
        self._together = os.environ.get(_TOGETHER) == str(folder)
        self._recommender = recommender
        self._sampled_at = 0.0
        self._served: tuple[str, str] | None = None
        own = self.registry = CollectorRegistry()
        self._requests = Counter(
            "recsys_requests", "Requests, by the answer's status and outcome (the code, for an error)",
            ["endpoint", "status", "outcome"], registry=own,
        )  # fmt: skip
        self._seconds = Histogram(
            "recsys_request_seconds", "Time to a request's answer", ["endpoint"], buckets=_BUCKETS, registry=own
        )
        self._stage_seconds = Histogram(
            "recsys_stage_seconds", "Time a request spent with one service, or on diversity",
            ["stage"], buckets=_BUCKETS, registry=own,
        )  # fmt: skip
        self._stage_failures = Counter(
            "recsys_stage_failures", "Stages that ended without the service's answer", ["stage"], registry=own
        )
        self._degradations = Counter(
            "recsys_degradations", "What answers lacked; one answer may lack several things", ["reason"], registry=own
        )
        self._in_flight = self._gauge("requests_in_flight", "Requests being answered")
        self._waiting = self._gauge("waiting_for_features", "Requests whose user's features are not being fetched yet")
        self._gauge("threads", "Requests that can be answered at once").set(threads)
        self._release = self._gauge("release_workers", "Processes that answer from a release", "release", "recipe")
        self._open_releases = self._gauge("open_releases", "Releases a process holds in memory", mode="livemax")
        self._items_fetched = self._gauge(
            "items_fetched_timestamp_seconds", "When the oldest copy of the films' features was fetched", mode="livemin"
        )
        self._breaker = self._gauge("breaker_state", "0 closed, 1 half open, 2 open", "service", mode="livemax")

    def _gauge(self, name: str, what: str, *labels: str, mode: str = "livesum") -> Gauge:
        """``mode``: how the values of several processes become one."""
        return Gauge(f"recsys_{name}", what, labels, registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]

    def register(self, app: Flask) -> None:
        """Count what is in flight, and answer `GET /metrics`."""

        @app.before_request
        def begin() -> None:
            if request.path != METRICS_PATH:
                g.in_flight = True
                self._in_flight.inc()

        @app.teardown_request
        def end(_: BaseException | None) -> None:
            if g.pop("in_flight", False):
                self._in_flight.dec()

        @app.get(METRICS_PATH)
        def metrics() -> Response:
            self.sample()
            return Response(self.page(), content_type=CONTENT_TYPE_LATEST)

    def count(self, record: Record) -> None:
        """A request that has its response."""
        self._requests.labels(record.endpoint, record.status, record.outcome).inc()
        self._seconds.labels(record.endpoint).observe(record.seconds)
        for name, stage in record.watch.stages.items():
            self._stage_seconds.labels(name).observe(stage.seconds)
            if stage.failed:
                self._stage_failures.labels(name).inc()
        for reason in record.degradations:
            self._degradations.labels(reason).inc()
        if time.monotonic() - self._sampled_at >= _SAMPLED_EVERY_S:
            self.sample()

    def sample(self) -> None:
        """Take down how the process is doing now."""
        self._sampled_at = time.monotonic()
        releases, opened = self._recommender.releases, self._recommender.releases.serving
        self._waiting.set(self._recommender.user_features.waiting)
        self._open_releases.set(releases.open_count)
        for service, breaker in self._recommender.breakers.items():
            self._breaker.labels(service).set(_BREAKER_STATES[breaker.state])
        if opened is not None:
            self._items_fetched.set(opened.items.fetched_at)
        serving = (opened.release, opened.manifest.recipe.name) if opened else None
        if serving != self._served:
            if self._served is not None:
                self._release.labels(*self._served).set(0)
            if serving is not None:
                self._release.labels(*serving).set(1)
            self._served = serving

    def page(self) -> bytes:
        """All processes' numbers, in Prometheus's text format."""
        registry = self.registry
        if self._together:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
