"""Records a sample of the served lists in a log of their own; shows the last report of `make quality`.

Only plain requests count, as somebody sees their answers now; lists interleaved of two releases say nothing of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import nan

from flask import Flask
from prometheus_client import Gauge

from extras.experiments.hook import counts as is_exposure
from extras.experiments.store import Exposure, ExposureQueue, counting
from extras.quality.store import QualitySettings, QualityStore, Report, ServedStore
from extras.routes import route
from online.recommend.outcomes import WITHOUT_A_SERVICE
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request, Stopwatch
from online.web.parts import Parts

OTHER_LISTS = frozenset(
    {"timestamp", "candidates", "query", "cursor"}
)  # fields of requests for these
READ_EVERY_S = 10.0
DAYS = 7  # of a release's hit rate in the metrics


def register(app: Flask, parts: Parts) -> None:
    """Record lists, and answer `GET /ml/quality`."""
    settings = QualitySettings.load()
    if settings.record_per_s:
        log: ServedStore = parts.stores.get("served") or ServedStore(
            parts.settings.redis
        )
        counter = counting(parts.registry, "recsys_recorded_lists", "Sampled lists")
        queue: ExposureQueue[Exposure] = ExposureQueue(log.expose, counter)
        recorder = Recorder(
            parts.recommender, queue.put, parts.recommend, settings.record_per_s
        )
        parts.recommend = recorder.recommend
    shown = Shown(
        parts,
        parts.stores.get("quality") or QualityStore(parts.settings.redis),
        settings,
    )
    parts.recommender.follow(shown.look)

    @route(app, parts, "GET", "/ml/quality", Report, (401, 429, 500))
    def quality() -> Report:
        """Hit rates of served lists by release and day, and drift against the training data.

        As `make quality` found them last with this server's window.
        """
        return shown.report


def counts(request: Request) -> bool:
    """Whether somebody sees the answer now: a plain request of a known user, of a trusted client."""
    plain = not (request.strict or request.explain or request.release) and bool(
        request.userid
    )
    return (
        plain
        and request.model_fields_set.isdisjoint(OTHER_LISTS)
        and is_exposure(request)
    )


def top_score(answer: Answer) -> float | None:
    """The ranker's score of the first item; None where it did not rank."""
    lacking = {each.outcome for each in answer.degraded} & WITHOUT_A_SERVICE
    return (
        None
        if answer.cold_start or lacking or not answer.item_list
        else answer.item_list[0].score
    )


class Recorder:
    """A recommender whose answers are recorded, at most so many a second. Shared by threads."""

    def __init__(
        self,
        recommender: Recommender,
        put: Callable[[Exposure], None],
        recommend: Callable[[Request, Stopwatch], Answer],
        per_s: int,
    ) -> None:
        self._recommender, self._put, self._recommend, self._per_s = (
            recommender,
            put,
            recommend,
            per_s,
        )
        self._second, self._recorded = 0, 0

    def recommend(self, request: Request, watch: Stopwatch) -> Answer:
        """As `Recommender.recommend`."""
        answer, opened = (
            self._recommend(request, watch),
            self._recommender.releases.active,
        )
        interleaved = any(
            len(each.arms) > 1 for each in getattr(answer, "experiments", ())
        )
        if opened and counts(request) and not interleaved and self._within_rate():
            dataset, score = opened.manifest.dataset.base_name, top_score(answer)
            exposure = Exposure.of(
                answer,
                request,
                experiment="",
                arm="",
                dataset=dataset,
                as_dealt=True,
                score=score,
            )
            self._put(exposure)
        return answer

    def _within_rate(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._recorded = second, 0
        self._recorded += 1
        return self._recorded <= self._per_s


class Shown:
    """The report as the process has read it last, and its metrics."""

    def __init__(
        self, parts: Parts, store: QualityStore, settings: QualitySettings
    ) -> None:
        self._releases, self._store, self._next = parts.recommender.releases, store, 0.0
        self._window_s = settings.window_s
        self.report = Report(threshold=settings.threshold)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(
                f"recsys_{name}",
                what,
                labels,
                registry=parts.registry,
                multiprocess_mode="livemax",
            )

        self._rates = gauge(
            "hit_rate",
            f"Share of a release's lists of {DAYS} days with a liked item",
            "release",
        )
        self._drift = gauge(
            "drift_psi",
            "Population stability index against the training data",
            "release",
            "feature",
        )
        gauge("drift_threshold", "Index above which a feature has drifted").set(
            settings.threshold
        )

    def look(self) -> bool:
        """Read the report now and then. Raises ServiceError."""
        opened = self._releases.active
        if opened is None or time.monotonic() < self._next:
            return True
        self._next = (
            time.monotonic() + READ_EVERY_S
        )  # also where Redis cannot be reached
        before, self.report = (
            self.report,
            self._store.call((opened.manifest.dataset.base_name, self._window_s)),
        )
        _set(self._rates, _recent(before), _recent(self.report))
        _set(self._drift, _drifts(before), _drifts(self.report))
        return True


def _recent(report: Report) -> dict[tuple[str, ...], float]:
    since = datetime.fromtimestamp(report.made, UTC) - timedelta(days=DAYS - 1)
    return {
        (release,): rate
        for release, rate in report.rates_since(f"{since:%Y-%m-%d}").items()
    }


def _drifts(report: Report) -> dict[tuple[str, ...], float]:
    return {(report.release or "", each.feature): each.psi for each in report.drift}


def _set(
    gauge: Gauge,
    before: dict[tuple[str, ...], float],
    now: dict[tuple[str, ...], float],
) -> None:
    """Set a gauge by its labels; what has no value any more is NaN, as several processes cannot remove labels."""
    for labels in before.keys() | now:
        gauge.labels(*labels).set(now.get(labels, nan))
