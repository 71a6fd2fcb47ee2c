from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from data_exchange_center.settings import Settings
from extras.experiments.hook import ExperimentAnswer, InExperiment
from extras.quality import hook
from extras.quality.store import DayRate, Drift, QualitySettings, Report
from online.clients.base import ServiceError
from online.main.s1_server import create_app
from online.recommend.types import Answer
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.online.world import UNKNOWN_USER, DefaultWorld, World
from tests.waiting import until

pytestmark = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
OTHER = "bbbbbbbbbbbb"


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_QUALITY__RECORD_PER_S", "1000")


def recorded(fakes: Fakes, *bodies: dict[str, Any]) -> list[Any]:
    http = create_app(fakes.recommender, Settings(), fakes.stores).test_client()
    answers = [http.post("/ml/rec", json=body).json for body in bodies]
    until(
        lambda: (
            answers[-1]["recommendation"]
            in {each.recommendation for each in fakes.served.exposed}
        )
    )
    return answers


def test_a_plain_answer_is_recorded(
    unlimited: None, opened: Fakes, fakes: Fakes
) -> None:
    unknown, answer = recorded(fakes, {"userid": UNKNOWN_USER}, {"userid": 1})
    first, exposure = fakes.served.exposed
    assert (exposure.userid, exposure.release) == (1, answer["release"])
    assert exposure.items == tuple(item["itemid"] for item in answer["item_list"])
    assert exposure.score == answer["item_list"][0]["score"]
    assert exposure.experiment == ""
    assert (first.recommendation, first.score) == (unknown["recommendation"], None)
    assert fakes.store.exposed == []


@pytest.mark.parametrize(
    "more",
    [
        {"timestamp": 1_000_000_000},
        {"strict": True},
        {"explain": True},
        {"history": []},
        {"release": "of the world"},
        {"query": "toy"},
        {"cursor": True},
    ],
)
def test_requests_for_another_purpose_are_not_recorded(
    unlimited: None, opened: Fakes, fakes: Fakes, more: dict[str, Any]
) -> None:
    if "release" in more:
        more = {"release": fakes.world.release}
    recorded(fakes, {"userid": 2, **more}, {"userid": 1})
    assert [each.userid for each in fakes.served.exposed] == [1]


def test_a_degraded_list_has_no_score(
    unlimited: None, opened: Fakes, fakes: Fakes
) -> None:
    fakes.scorer.down = True
    recorded(fakes, {"userid": 1})
    assert fakes.served.exposed[0].score is None


def test_only_so_many_lists_are_recorded_a_second(
    opened: Fakes, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(hook.time, "monotonic", lambda: now)
    put: list[Any] = []
    recommend = fakes.recommender.recommend
    recorder = hook.Recorder(fakes.recommender, put.append, recommend, 2)
    ask = fakes.parts.request_model.model_validate
    for _ in range(5):
        answer: Answer = recorder.recommend(ask({"userid": 1}), hook.Stopwatch())
        assert answer.item_list
    assert len(put) == 2
    now = 101.0
    recorder.recommend(ask({"userid": 1}), hook.Stopwatch())
    assert len(put) == 3


def test_nothing_is_recorded_if_the_setting_is_0(
    opened: Fakes, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_QUALITY__RECORD_PER_S", "0")
    app = create_app(fakes.recommender, Settings(), fakes.stores)
    assert app.extensions["recsys"].recommend.__self__.__class__ is not hook.Recorder


def test_the_report_is_shown_and_in_the_metrics(opened: Fakes, fakes: Fakes) -> None:
    rates = [
        DayRate(release=OTHER, day="2026-01-01", lists=10, hits=1),
        DayRate(release=OTHER, day="2026-01-02", lists=10, hits=4),
    ]
    drift = [Drift(feature="age", psi=0.31, values=500)]
    fakes.quality.report = report = Report(
        release=OTHER, made=1, window_s=60, hit_rates=rates, drift=drift
    )
    http: FlaskClient = create_app(
        fakes.recommender, Settings(), fakes.stores
    ).test_client()
    until(lambda: http.get("/ml/quality").json["made"] == 1)
    found = http.get("/ml/quality").json
    conforms(found, "Report")
    assert Report.model_validate(found) == report
    page = http.get("/metrics").text
    assert f'recsys_hit_rate{{release="{OTHER}"}} 0.25' in page
    assert f'recsys_drift_psi{{feature="age",release="{OTHER}"}} 0.31' in page
    assert "recsys_drift_threshold 0.2" in page


def shown_by(fakes: Fakes) -> tuple[hook.Shown, CollectorRegistry]:
    registry = CollectorRegistry()
    parts: Any = SimpleNamespace(recommender=fakes.recommender, registry=registry)
    return hook.Shown(parts, fakes.quality, QualitySettings()), registry  # type: ignore[arg-type]


def test_metrics_lose_releases_that_are_not_reported(
    opened: Fakes, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "READ_EVERY_S", 0)
    shown, registry = shown_by(fakes)

    def metrics() -> list[float | None]:
        labels = {"release": OTHER}
        rate = registry.get_sample_value("recsys_hit_rate", labels)
        return [
            rate,
            registry.get_sample_value("recsys_drift_psi", {**labels, "feature": "age"}),
        ]

    rates, day_s = [DayRate(release=OTHER, day="1970-01-01", lists=10, hits=1)], 86_400
    drift = [Drift(feature="age", psi=0.31, values=500)]
    fakes.quality.report = Report(
        release=OTHER, made=6 * day_s, hit_rates=rates, drift=drift
    )
    assert shown.look()
    assert metrics() == [0.1, 0.31]
    fakes.quality.report = Report(release="c" * 12, made=7 * day_s, hit_rates=rates)
    assert shown.look()
    assert all(map(math.isnan, metrics()))  # type: ignore[arg-type]


def test_a_redis_that_is_away_is_not_read_at_once_again(
    opened: Fakes, fakes: Fakes
) -> None:
    shown, _ = shown_by(fakes)
    fakes.quality.down = True
    with pytest.raises(ServiceError):
        shown.look()
    assert shown.look()


@pytest.mark.parametrize(("arms", "lists"), [(["a"], 1), (["a", "b"], 0)])
def test_interleaved_lists_are_not_recorded(
    opened: Fakes, fakes: Fakes, arms: list[str], lists: int
) -> None:
    def recommend(request: Any, watch: Any) -> Answer:
        answer = fakes.recommender.recommend(request, watch)
        return ExperimentAnswer(
            **answer.model_dump(), experiments=[InExperiment(experiment="e", arms=arms)]
        )

    put: list[Any] = []
    recorder = hook.Recorder(fakes.recommender, put.append, recommend, 9)
    recorder.recommend(
        fakes.parts.request_model.model_validate({"userid": 1}), hook.Stopwatch()
    )
    assert len(put) == lists


@pytest.mark.parametrize(
    "wrong", [{"record_per_s": -1}, {"window_s": 0}, {"threshold": 0}]
)
def test_settings_are_validated(kind: type[World], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        QualitySettings(**wrong)
