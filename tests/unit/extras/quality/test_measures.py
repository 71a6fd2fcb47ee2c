from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data_exchange_center.dataset import Dataset
from data_exchange_center.events import Event
from extras.events.log import STREAMS
from extras.experiments.store import ExperimentStore, Exposure
from extras.quality.measures import (
    FEWEST,
    KEPT_DAYS,
    drift_of,
    hit_rates,
    is_hit,
    merged,
    psi,
)
from extras.quality.store import DayRate, Drift, Report, ServedStore
from tests.unit.online.world import DefaultWorld

DAY_S, WINDOW_S, NOW = 86_400, 100, 10 * 86_400
DATASET: Dataset = DefaultWorld().published.manifest.dataset
OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def shown(
    at: int, user: int = 1, release: str = OLD, items: tuple[int, ...] = (4, 5)
) -> Exposure:
    name = f"{user} {at} {release}"
    return Exposure(
        "", "", name, DATASET.base_name, user, release, True, at, at * 1000, items
    )


def rated(
    at: int, item: int = 4, value: float = 5, user: int = 1, kind: str = "rating"
) -> Event:
    return Event(
        eventid=f"{at} {item}",
        userid=user,
        itemid=item,
        type=kind,
        value=value,
        timestamp=at,
    )


@pytest.mark.parametrize(
    ("events", "hit"),
    [
        ([], False),
        ([rated(10)], True),
        ([rated(9)], False),  # before the list
        ([rated(10 + WINDOW_S)], True),
        ([rated(11 + WINDOW_S)], False),  # after its window
        ([rated(20, item=9)], False),  # an item that was not on it
        ([rated(20, value=1)], False),
        ([rated(20), rated(21, value=1)], False),  # the newer rating counts
        ([rated(20), rated(21, kind="undo")], False),
        ([rated(20), rated(21, kind="undo"), rated(22, item=5)], True),
        ([rated(20, kind="click")], False),
    ],
)
def test_a_list_is_a_hit_if_an_item_is_liked_in_its_window(
    events: list[Event], hit: bool
) -> None:
    assert is_hit(shown(10), events, DATASET, WINDOW_S) is hit


def test_hit_rates_are_by_release_and_day() -> None:
    exposures = [
        shown(10),
        shown(10),
        shown(50),
        shown(60, user=2),  # the first was written twice
        shown(DAY_S + 10),
        shown(DAY_S + 10, release=NEW, user=2),
        shown(NOW - 1),  # its window is not over
    ]
    events = {1: [rated(40), rated(DAY_S + 20)], 2: []}
    found = hit_rates(exposures, events, DATASET, WINDOW_S, NOW)
    assert [(each.day, each.release, each.lists, each.hits) for each in found] == [
        ("1970-01-01", OLD, 3, 1),
        ("1970-01-02", OLD, 1, 1),
        ("1970-01-02", NEW, 1, 0),
    ]


def test_days_that_the_log_has_lost_are_kept() -> None:
    def report(*days: tuple[str, int, int]) -> Report:
        rates = [
            DayRate(release=OLD, day=day, lists=lists, hits=hits)
            for day, lists, hits in days
        ]
        return Report(window_s=WINDOW_S, hit_rates=rates)

    before = report(("1", 9, 3), ("2", 5, 1), ("3", 2, 1))
    now = report(("2", 4, 0), ("3", 6, 2))
    assert (
        merged(before, now).hit_rates
        == report(("1", 9, 3), ("2", 5, 1), ("3", 6, 2)).hit_rates
    )
    assert merged(before, now).rates_since("2") == {OLD: 3 / 11}
    assert merged(before, now).rates_since("4") == {}


def test_the_newest_days_alone_are_kept() -> None:
    rates = [
        DayRate(release=OLD, day=f"{day:03}", lists=1, hits=0)
        for day in range(KEPT_DAYS + 5)
    ]
    kept = merged(Report(hit_rates=rates), Report(hit_rates=rates[-1:])).hit_rates
    assert kept == rates[5:]


def test_drift_that_is_not_measured_again_stays() -> None:
    before = Report(
        release=OLD,
        drift=[
            Drift(feature="score", psi=0.9, values=300),
            Drift(feature="age", psi=0.3, values=300),
        ],
    )
    now = Report(release=OLD, drift=[Drift(feature="age", psi=0.1, values=400)])
    assert merged(before, now).drift == [before.drift[0], now.drift[0]]
    assert merged(before, Report(release=OLD)).drift == before.drift
    assert merged(before, Report(release=NEW)).drift == []


def test_served_lists_displace_no_exposures_and_are_forgotten() -> None:
    assert sorted([ServedStore.stream, ExperimentStore.stream]) == sorted(STREAMS)


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

    def drawn(n: int, shift: float) -> pd.Series:
        values = random.normal(shift, 1, n)
        if kind == "numbers":
            return pd.Series(values)
        return pd.Series(values > 0).map(
            {True: "yes", False: "no"} if kind == "text" else {True: 1, False: 0}
        )

    training = drawn(5_000, 0)
    same, other = (drift_of("f", training, drawn(1_000, shift)) for shift in (0, 1))
    assert same is not None
    assert other is not None
    assert same.psi < 0.05
    assert other.psi > 0.2
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
