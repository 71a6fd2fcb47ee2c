"""`/metrics` for Prometheus: one page for all of gunicorn's workers.

Each worker writes its numbers to files of its own in the folder that PROMETHEUS_MULTIPROC_DIR names (see
online/gunicorn_conf.py); the one that answers adds them up. Without that folder, as under Flask's own server, a
process counts itself alone. Labels have few values: endpoints, codes, services; never a user, an id or a path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from online.recommend.readiness import Status
from online.web.records import Record

PATH: Final = "/metrics"
FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported
BREAKER_STATES: Final = {"closed": 0, "half_open": 1, "open": 2}
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.15, 0.25, 0.3, 0.5, 1.0, 2.5, 5.0)  # seconds
_SAMPLED_EVERY_S: Final = 1.0


class Metrics:
    """Metrics of one process, and its state."""

    def __init__(self, status: Callable[[], Status], threads: int, folder: Path) -> None:
        """``status`` is called about once a second, ``threads`` is the number of requests answered at once.

        The numbers are those of all processes if gunicorn has said so by naming ``folder`` in the environment.
        """
        self._together = os.environ.get(FOLDER_VARIABLE) == str(folder)
        self._status = status
        self._sampled_at = 0.0
        self.registry = CollectorRegistry()  # extras add to it
        self._served: tuple[str, str] | None = None
        own = self.registry
        self._requests = Counter(
            "recsys_requests", "Requests, by the answer's status and outcome (the code, for an error)",
            ["endpoint", "status", "outcome"], registry=own,
        )  # fmt: skip
        self._seconds = Histogram(
            "recsys_request_seconds", "Time to a request's answer", ["endpoint"], buckets=_BUCKETS, registry=own
        )
        self._stage_seconds = Histogram(
            "recsys_stage_seconds",
            "Time a request spent with one service, or on diversity",
            ["stage"],
            buckets=_BUCKETS,
            registry=own,
        )
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
            if request.path != PATH:
                g.in_flight = True
                self._in_flight.inc()

        @app.teardown_request
        def end(_: BaseException | None) -> None:
            if g.pop("in_flight", False):
                self._in_flight.dec()

        @app.get(PATH)
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
        now = self._status()
        self._waiting.set(now.waiting_for_features)
        self._open_releases.set(now.open_releases)
        if now.items_fetched_at is not None:
            self._items_fetched.set(now.items_fetched_at)
        for service, state in now.breakers.items():
            self._breaker.labels(service).set(BREAKER_STATES[state])
        serving = (now.release, now.recipe or "") if now.release else None
        if serving != self._served:
            if self._served is not None:
                self._release.labels(*self._served).set(0)
            if serving is not None:
                self._release.labels(*serving).set(1)
            self._served = serving

    def page(self) -> bytes:
        """All processes' numbers, in Prometheus's text format."""
        if not self._together:
            return generate_latest(self.registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)
