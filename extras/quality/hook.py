"""Records a sample of the served lists in the log of exposures; shows the last report of `make quality`.

A list that an experiment records is not recorded again. Only plain requests count, as somebody sees their answers now.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Flask
from prometheus_client import Gauge

from extras.experiments.store import ExperimentStore, Exposure, ExposureQueue
from extras.quality.store import QualitySettings, QualityStore, Report
from extras.routes import route
from online.recommend.outcomes import WITHOUT_A_SERVICE
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request, Stopwatch
from online.web.guard import may_record_exposures
from online.web.parts import Parts

READ_EVERY_S = 10.0
DAYS = 7  # of a release's hit rate in the metrics


def register(app: Flask, parts: Parts) -> None:
    """Record lists, and answer `GET /ml/quality`."""
    settings = QualitySettings.load()
    if settings.record_per_s:
        log: ExperimentStore = parts.stores.get("served") or ExperimentStore(parts.settings.redis)
        recorder = Recorder(parts.recommender, ExposureQueue(log.expose).put, parts.recommend, settings.record_per_s)
        parts.recommend = recorder.recommend
    shown = Shown(parts, parts.stores.get("quality") or QualityStore(parts.settings.redis), settings.threshold)
    parts.recommender.follow(shown.look)

    @route(app, parts, "GET", "/ml/quality", Report, (401, 429, 500))
    def quality() -> Report:
        """Hit rates of served lists by release and day, and drift against the training data.

        As `make quality` found them last.
        """
        return shown.report


def counts(request: Request) -> bool:
    """Whether somebody sees the answer now: a plain request of a known user, of a trusted client."""
    given = request.model_fields_set
    plain = not (request.strict or request.explain or request.release) and bool(request.userid)
    return plain and given.isdisjoint(("timestamp", "history", "candidates")) and may_record_exposures()


def top_score(answer: Answer) -> float | None:
    """The ranker's score of the first item; None where it did not rank."""
    lacking = {each.outcome for each in answer.degraded} & WITHOUT_A_SERVICE
    return None if answer.cold_start or lacking or not answer.item_list else answer.item_list[0].score


class Recorder:
    """A recommender whose answers are recorded, at most so many a second. Shared by threads."""

    def __init__(
        self, recommender: Recommender, put: Callable[[Exposure], None],
        recommend: Callable[[Request, Stopwatch], Answer], per_s: int,
    ) -> None:  # fmt: skip
        self._recommender, self._put, self._recommend, self._per_s = recommender, put, recommend, per_s
        self._second, self._recorded = 0, 0

    def recommend(self, request: Request, watch: Stopwatch) -> Answer:
        """As `Recommender.recommend`."""
        answer = self._recommend(request, watch)
        if counts(request) and not getattr(answer, "experiments", ()) and self._has_room():
            self._put(self._exposure(request, answer))
        return answer

    def _has_room(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._recorded = second, 0
        self._recorded += 1
        return self._recorded <= self._per_s and self._recommender.releases.active is not None

    def _exposure(self, request: Request, answer: Answer) -> Exposure:
        opened = self._recommender.releases.active
        return Exposure(
            experiment="",
            arm="",
            recommendation=answer.recommendation,
            dataset=opened.manifest.dataset.base_name if opened else "",
            userid=request.userid,
            release=answer.release,
            as_dealt=True,
            timestamp=request.timestamp,
            answered=time.time_ns() // 1_000_000,
            items=tuple(answer.itemids),
            score=top_score(answer),
        )


class Shown:
    """The report as the process has read it last, and its metrics."""

    def __init__(self, parts: Parts, store: QualityStore, threshold: float) -> None:
        self._releases, self._store, self._next = parts.recommender.releases, store, 0.0
        self.report = Report(threshold=threshold)
        self._drifts: dict[tuple[str | None, str], float] = {}  # as they are in the metrics

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"recsys_{name}", what, labels, registry=parts.registry, multiprocess_mode="livemax")

        self._rates = gauge("hit_rate", f"Share of a release's lists of {DAYS} days with a liked item", "release")
        self._drift = gauge("drift_psi", "Population stability index against the training data", "release", "feature")
        gauge("drift_threshold", "Index above which a feature has drifted").set(threshold)

    def look(self) -> bool:
        """Read the report now and then. Raises ServiceError."""
        opened = self._releases.active
        if opened is None or time.monotonic() < self._next:
            return True
        self.report = report = self._store.call(opened.manifest.dataset.base_name)
        self._next = time.monotonic() + READ_EVERY_S
        for release in {each.release for each in report.hit_rates}:
            self._rates.labels(release).set(report.rate_of(release, DAYS) or 0)
        drift = {(report.release, each.feature): each.psi for each in report.drift}
        for labels in self._drifts.keys() | drift:  # what is measured no longer has not drifted
            self._drift.labels(*labels).set(drift.get(labels, 0))
        self._drifts = drift
        return True
