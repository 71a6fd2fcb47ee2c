"""Readiness is found out once for all who ask at the same time; a cold Elasticsearch is warmed up."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from online.clients.base import OUT_OF_TIME, ServiceError
from online.clients.elastic import ItemQuery
from online.recommend import readiness
from online.recommend.readiness import go_on_warming_up, warm_up_elasticsearch
from tests.unit.online.conftest import Fakes

MANY = 20


def test_a_flood_asks_once(opened: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FRESH_S", 60.0)
    go = threading.Event()
    opened.scorer.calls.clear()
    opened.scorer.on_call = lambda: go.wait(60)
    with ThreadPoolExecutor(MANY) as callers:
        answers = [callers.submit(opened.recommender.readiness) for _ in range(MANY)]
        go.set()
        assert len({id(answer.result()) for answer in answers}) == 1
    assert len(opened.scorer.calls) == 1


def warm(fakes: Fakes, within_s: float = 60.0) -> None:
    warm_up_elasticsearch(fakes.users, fakes.items, fakes.recommender.releases.live(), within_s)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "WARM", 50)
    monkeypatch.setattr(readiness, "HOT", 200)


def test_a_cold_index_is_searched_until_it_is_warm(fakes: Fakes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    warm(fakes)
    assert fakes.items.answered >= 50
    assert "warmed Elasticsearch up" in caplog.text
    before = fakes.items.answered
    warm(fakes)
    warm(fakes, within_s=0)
    assert fakes.items.answered == before


def test_it_ends_when_time_is_over(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "WARM", 10**9)
    warm(fakes, within_s=1.0)
    assert 0 < fakes.items.answered < 10**9


def test_a_search_that_takes_too_long_does_not_end_it(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    call, slow = fakes.items._call, iter([True, True])

    def slow_at_first(query: ItemQuery) -> object:
        if next(slow, False):
            raise ServiceError("elasticsearch", OUT_OF_TIME)
        return call(query)

    monkeypatch.setattr(fakes.items, "_call", slow_at_first)
    warm(fakes)
    assert fakes.items.answered >= 50


def test_it_goes_on_quietly_until_the_index_is_hot_or_the_process_ends(
    fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    arguments = (fakes.users, fakes.items, fakes.recommender.releases.live())
    closed = threading.Event()
    closed.set()
    go_on_warming_up(*arguments, closed)  # type: ignore[arg-type]
    assert fakes.items.answered < 200
    go_on_warming_up(*arguments, threading.Event())  # type: ignore[arg-type]
    assert 200 <= fakes.items.answered < 300
    assert "as fast as it gets" in caplog.text


def test_a_service_that_goes_away_ends_the_quiet_warm_up(fakes: Fakes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    opened = fakes.recommender.releases.live()
    fakes.items.down = True
    go_on_warming_up(fakes.users, fakes.items, opened, threading.Event())  # type: ignore[arg-type]
    assert "left to warm up by requests: elasticsearch:" in caplog.text


def test_the_server_serves_although_its_warm_up_failed(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ServiceError("elasticsearch", "cannot be reached")

    monkeypatch.setattr("online.recommend.recommend.warm_up_elasticsearch", fails)
    fakes.recommender.warm_up().result(60)
    assert fakes.recommender.readiness().release == fakes.world.release
    assert "Elasticsearch is not warmed up: elasticsearch: cannot be reached" in caplog.text
