import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from online.clients.base import ServiceError
from online.recommend import poller, readiness
from tests.unit.online.conftest import Fakes
from tests.unit.online.world import DefaultWorld
from tests.waiting import until

pytestmark = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)

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


def test_a_probe_of_a_slow_service_holds_up_no_other_caller(
    opened: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_following_outlasts_failures_and_ends_with_the_server(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        return [
            thread.name
            for thread in threading.enumerate()
            if thread.name.endswith("Rules.look")
        ]

    monkeypatch.setattr(poller, "POLL_S", 0.01)
    monkeypatch.setattr(poller, "POLL_AGAIN_S", 0.01)
    rules, gone = Rules(), Rules()
    # it has not failed: the error's traceback, which the log's handler of pytest keeps, would hold it
    gone.calls = 3
    for each in (rules, gone):
        fakes.recommender.follow(each.look)
    del each, gone
    until(lambda: rules.calls > 4)
    until(lambda: len(threads()) == 1)
    fakes.recommender.closed.set()
    until(lambda: not threads())
