"""Quality over time: the report, its metrics, and drift against the artifacts of a made-up release."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from extras.trials.measure_quality import FEWEST, drift_of, drifts, psi
from extras.trials.quality import (
    KEPT_RATES,
    DayRate,
    Drift,
    QualityMetrics,
    Report,
)
from tests.synthetic_release import write_artifacts
from tests.unit.extras.trials.test_outcomes import shown

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
AGE = Drift(feature="age", psi=0.31, values=500)


def report(*days: tuple[str, int, int], **more: Any) -> Report:
    rates = [
        DayRate(release=OLD, day=day, lists=lists, hits=hits)
        for day, lists, hits in days
    ]
    return Report(hit_rates=rates, **more)


def test_days_that_the_log_has_lost_are_kept() -> None:
    before = report(("1", 9, 3), ("2", 5, 1), ("3", 2, 1), drift=[AGE])
    found = report(("2", 4, 0), ("3", 6, 2)).after(before)
    assert found == report(("1", 9, 3), ("2", 5, 1), ("3", 6, 2))
    assert found.rates_since("2") == {OLD: 3 / 11}
    assert found.rates_since("4") == {}
    many = report(*((f"{day:03}", 1, 0) for day in range(KEPT_RATES + 5)))
    kept = report(("204", 1, 0)).after(many).hit_rates
    assert (len(kept), kept[0].day) == (KEPT_RATES, "005")


def test_metrics_lose_releases_that_are_not_reported() -> None:
    registry = CollectorRegistry()
    metrics = QualityMetrics(registry, 0.2)

    def values() -> list[float | None]:
        labels = {"release": OLD}
        rate = registry.get_sample_value("recsys_hit_rate", labels)
        drift = registry.get_sample_value(
            "recsys_drift_psi", {**labels, "feature": "age"}
        )
        return [rate, drift]

    rates, day_s = ("1970-01-01", 10, 1), 86_400
    metrics.show(report(rates, release=OLD, made=6 * day_s, drift=[AGE]))
    assert values() == [0.1, 0.31]
    metrics.show(report(rates, release=NEW, made=7 * day_s))
    assert all(map(math.isnan, values()))  # type: ignore[arg-type]
    assert registry.get_sample_value("recsys_drift_threshold") == 0.2


# --- drift


def test_psi_is_that_of_the_formula() -> None:
    p, q = np.array([500_000, 300_000, 200_000]), np.array([400_000, 400_000, 200_000])
    by_hand = (0.4 - 0.5) * np.log(0.4 / 0.5) + (0.4 - 0.3) * np.log(0.4 / 0.3)
    assert psi(p, q) == pytest.approx(by_hand, rel=1e-4)
    assert psi(q, p) == pytest.approx(by_hand, rel=1e-4)
    assert psi(p, p) == 0
    assert np.isfinite(psi(np.array([100, 0]), np.array([0, 100])))


@pytest.mark.parametrize("kind", ["numbers", "text", "flags"])
def test_drift_is_small_for_one_population_large_for_another(kind: str) -> None:
    random = np.random.default_rng(1)
    names = {"text": {True: "yes", False: "no"}, "flags": {True: 1, False: 0}}

    def drawn(n: int, shift: float) -> pd.Series:
        values = pd.Series(random.normal(shift, 1, n))
        return (values > 0).map(names[kind]) if kind in names else values

    training = drawn(5_000, 0)
    same, other = (drift_of("f", training, drawn(1_000, shift)) for shift in (0, 1))
    assert same is not None
    assert other is not None
    assert same.psi < 0.05 < 0.2 < other.psi
    assert (other.feature, other.values) == ("f", 1_000)


@pytest.mark.parametrize("training", [["M", "F"], [1.5, 2.5], list(range(100))])
def test_unknown_values_are_drift(training: list[object]) -> None:
    before = pd.Series(training * 1_000)
    now = pd.Series(training * 500 + [None] * 500 * len(training))
    found = drift_of("f", before, now)
    assert found is not None
    assert found.psi > 0.2


def test_too_few_values_have_no_index() -> None:
    values = pd.Series(range(FEWEST - 1))
    assert drift_of("f", values, values) is None


def test_events_that_were_trained_on_are_not_counted_again(tmp_path: Path) -> None:
    write_artifacts(tmp_path, users=400)
    settings = Settings(exchange_dir=tmp_path)
    manifest = release_of_artifacts(settings)
    ids = read_own_ids(settings.exchange_dir)
    users = list(ids.users.values())
    ratings = artifacts.RATINGS.read(settings.exchange_dir)
    events: dict[OwnId, list[Event]] = {user: [] for user in users}
    columns = (Columns.USER, Columns.ITEM, Columns.TIMESTAMP)
    for row in ratings[list(columns)].itertuples():
        number, user_number, item_number, at = row
        user, item = ids.users[user_number], ids.items[item_number]
        events[user].append(Event(f"{number}", user, item, "rating", int(at), 5))
    lists = [shown(user, 1, (1,), release=manifest.release) for user in users[:250]]
    found = drifts(settings, manifest, lists, events)
    of = {each.feature: each for each in found}
    assert of["gender"].psi < 0.2
    assert "rating" not in of, "there are no new events"
