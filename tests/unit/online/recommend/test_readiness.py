from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from data_exchange_center.candidates import ItemQuery
from online.clients.base import OUT_OF_TIME, ServiceError
from online.recommend import process, readiness
from online.recommend.readiness import warm_up_elasticsearch
from tests.unit.online.conftest import Fakes
from tests.waiting import until

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


def test_a_probe_of_a_slow_service_holds_up_no_other_caller(opened: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened.recommender.readiness()
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)
    opened.recommender.readiness._found = (0.0, before)  # it is too old
    go, probing = threading.Event(), threading.Event()
    opened.scorer.on_call = lambda: (probing.set(), go.wait(60))
    with ThreadPoolExecutor(1) as callers:
        slow = callers.submit(opened.recommender.readiness)
        assert probing.wait(60)
        assert opened.recommender.readiness() is before
        go.set()
        assert slow.result() is not before


def warm(
    fakes: Fakes, enough: int = 50, more: Callable[[float], bool] = lambda took_s: True, *, patient: bool = True
) -> None:
    opened = fakes.recommender.releases.get_active()
    warm_up_elasticsearch(fakes.users, fakes.items, opened, enough, more, patient=patient)  # type: ignore[arg-type]


def test_a_cold_index_is_searched_until_it_is_warm(fakes: Fakes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    warm(fakes)
    assert 50 <= fakes.items.answered < 150
    assert "has answered 50 searches" in caplog.text
    before = fakes.items.answered
    warm(fakes)
    assert fakes.items.answered == before


def test_it_ends_when_there_is_to_be_no_other_search(fakes: Fakes) -> None:
    another = iter([True, True, False])
    warm(fakes, 10**9, lambda took_s: next(another))
    searched = fakes.items.answered
    warm(fakes, 10**9, lambda took_s: False)
    assert 0 < fakes.items.answered - searched < searched < 50


@pytest.mark.parametrize("patient", [True, False])
def test_a_slow_search_ends_the_quiet_one_only(fakes: Fakes, monkeypatch: pytest.MonkeyPatch, *, patient: bool) -> None:
    call, slow = fakes.items._call, iter([True, True])

    def slow_at_first(query: ItemQuery) -> object:
        if next(slow, False):
            raise ServiceError("elasticsearch", OUT_OF_TIME)
        return call(query)

    monkeypatch.setattr(fakes.items, "_call", slow_at_first)
    warm(fakes, patient=patient)
    assert (fakes.items.answered >= 50) is patient


@pytest.fixture
def warming(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    monkeypatch.setattr(readiness, "WARM", 50)
    fakes.recommender.server = fakes.recommender.server.model_copy(update={"warm_up_s": 10.0})
    return fakes


def test_a_server_warms_up_within_its_time_and_quietly_after(warming: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "HOT", 200)
    monkeypatch.setattr(process, "_IDLE", 0.0)
    warming.recommender.warm_up().result(60)
    assert warming.items.answered >= 50
    until(lambda: 200 <= warming.items.answered < 300)


def test_the_quiet_warm_up_ends_with_the_server(warming: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "HOT", 10**9)
    warming.recommender.warm_up().result(60)
    (quiet,) = (thread for thread in threading.enumerate() if thread.name == "warm-up")
    warming.recommender.closed.set()
    quiet.join(60)
    assert not quiet.is_alive()


def test_the_server_serves_although_its_warm_up_failed(warming: Fakes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    warming.recommender.releases.get_active()
    warming.items.down = True
    warming.recommender.warm_up().result(60)
    assert warming.recommender.readiness().release == warming.world.release
    assert "left to warm up by requests: elasticsearch:" in caplog.text


def test_following_outlasts_failures_and_ends_with_the_server(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rules:
        calls = 0

        def look(self) -> bool:
            self.calls += 1
            if self.calls == 1:
                raise ServiceError("redis", "cannot be reached")
            if self.calls == 2:
                raise ZeroDivisionError
            return self.calls > 3

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.endswith("Rules.look")]

    monkeypatch.setattr(process, "POLL_S", 0.01)
    monkeypatch.setattr(process, "POLL_AGAIN_S", 0.01)
    rules, gone = Rules(), Rules()
    for each in (rules, gone):
        fakes.recommender.follow(each.look)
    del each, gone
    until(lambda: rules.calls > 4)
    until(lambda: len(threads()) == 1)
    fakes.recommender.closed.set()
    until(lambda: not threads())
