"""`/metrics` for Prometheus: one page for all of gunicorn's workers.

Each worker writes its numbers to files of its own in the folder that PROMETHEUS_MULTIPROC_DIR names
(online/gunicorn_conf.py); the one that answers adds them up. Without that folder, as under Flask's own server, a
process counts itself alone. Labels have few values: endpoints, codes, services; never a user, an id or a path.
"""

from __future__ import annotations

import os
import time
from typing import Final

from flask import Flask, Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from online.web.guard import Record
from online.web.openapi import KEY, operation, responses
from online.web.parts import Parts

PATH: Final = "/metrics"
# read by prometheus_client when it is imported
_TOGETHER: Final = "PROMETHEUS_MULTIPROC_DIR"
_BREAKER_STATES: Final = {"closed": 0, "half_open": 1, "open": 2}
_BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.015,
    0.025,
    0.05,
    0.1,
    0.15,
    0.25,
    0.3,
    0.5,
    1.0,
    2.5,
    5.0,
)  # seconds
_SAMPLED_EVERY_S: Final = 1.0


def register(app: Flask, parts: Parts) -> None:
    """Count requests, and answer `GET /metrics`."""
    metrics = Metrics(parts)
    parts.observers.append(metrics.count)
    answers = responses(
        "Prometheus's text format.", 401, 429, 500, mimetype="text/plain"
    )
    described = operation("metrics", "Numbers for Prometheus", answers, security=KEY)
    parts.describe({PATH: {"get": described}}, [])

    @app.before_request
    def begin() -> None:
        if request.path != PATH:
            g.in_flight = True
            metrics.in_flight.inc()

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        if g.pop("in_flight", False):
            metrics.in_flight.dec()

    @app.get(PATH)
    def page() -> Response:
        metrics.sample()
        return Response(metrics.page(), content_type=CONTENT_TYPE_LATEST)


class Metrics:
    """Counters and gauges of one process."""

    def __init__(self, parts: Parts) -> None:
        self._together = os.environ.get(_TOGETHER) == str(
            parts.settings.workers_dir("metrics")
        )
        self._recommender = parts.recommender
        self._sampled_at = 0.0
        self._served: tuple[str, str] | None = None
        own = self._registry = parts.registry
        self._requests = Counter(
            "recsys_requests",
            "Requests, by the answer's status and outcome (the code, for an error)",
            ["endpoint", "status", "outcome"],
            registry=own,
        )
        self._seconds = Histogram(
            "recsys_request_seconds",
            "Time to a request's answer",
            ["endpoint"],
            buckets=_BUCKETS,
            registry=own,
        )
        self._stage_seconds = Histogram(
            "recsys_stage_seconds",
            "Time a request spent with one service, or on diversity",
            ["stage"],
            buckets=_BUCKETS,
            registry=own,
        )
        self._stage_failures = Counter(
            "recsys_stage_failures",
            "Stages that ended without the service's answer",
            ["stage"],
            registry=own,
        )
        self._degradations = Counter(
            "recsys_degradations",
            "What answers lacked, by service; one answer may lack several things",
            ["service", "reason"],
            registry=own,
        )
        self.in_flight = self._gauge("requests_in_flight", "Requests being answered")
        self._gauge("threads", "Requests that can be answered at once").set(
            parts.settings.server.threads
        )
        self._release = self._gauge(
            "release_workers",
            "Processes that answer from a release",
            "release",
            "recipe",
        )
        self._items_fetched = self._gauge(
            "items_fetched_timestamp_seconds",
            "When the oldest copy of the items' features was fetched",
            mode="livemin",
        )
        self._breaker = self._gauge(
            "breaker_state", "0 closed, 1 half open, 2 open", "service", mode="livemax"
        )

    def _gauge(
        self, name: str, what: str, *labels: str, mode: str = "livesum"
    ) -> Gauge:
        """``mode``: how the values of several processes become one."""
        return Gauge(
            f"recsys_{name}",
            what,
            labels,
            registry=self._registry,
            multiprocess_mode=mode,  # type: ignore[arg-type]
        )

    def count(self, record: Record) -> None:
        """Count a request that has its response."""
        self._requests.labels(record.endpoint, record.status, record.outcome).inc()
        self._seconds.labels(record.endpoint).observe(record.seconds)
        for name, stage in record.watch.stages.items():
            self._stage_seconds.labels(name).observe(stage.seconds)
            if stage.failed:
                self._stage_failures.labels(name).inc()
        for degradation in record.degradations:
            self._degradations.labels(*degradation).inc()
        if time.monotonic() - self._sampled_at >= _SAMPLED_EVERY_S:
            self.sample()

    def sample(self) -> None:
        """Record the process's gauges."""
        self._sampled_at = time.monotonic()
        opened = self._recommender.releases.active
        for client in self._recommender.clients:
            self._breaker.labels(client.service).set(
                _BREAKER_STATES[client.breaker.state]
            )
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
        registry = self._registry
        if self._together:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
