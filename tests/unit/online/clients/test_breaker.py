from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from online.clients.base import FAILURES, PROBE_S, Breaker, GoneError, ServiceError


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The library's clock: it stands still until a test moves it."""
    now = [0.0]
    monkeypatch.setattr("circuitbreaker.monotonic", lambda: now[0])
    return now


class Service:
    def __init__(self) -> None:
        self.asked = 0
        self.error: ServiceError | None = ServiceError("triton", "cannot be reached")

    def __call__(self) -> int:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.asked


def fail(breaker: Breaker, service: Service, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ServiceError):
            breaker.call(service)


def test_one_success_begins_the_count_anew() -> None:
    breaker, service = Breaker("triton"), Service()
    error = service.error
    fail(breaker, service, FAILURES - 1)
    service.error = None
    breaker.call(service)
    service.error = error
    fail(breaker, service, FAILURES - 1)
    assert breaker.state == "closed"


@pytest.mark.parametrize("well", [True, False])
def test_after_a_moment_one_request_finds_out(well: bool, clock: list[float]) -> None:
    breaker, service = Breaker("triton"), Service()
    fail(breaker, service, FAILURES)
    clock[0] = PROBE_S
    assert breaker.state == "half_open"
    asked, go = threading.Event(), threading.Event()

    def slow() -> int:
        asked.set()
        assert go.wait(60)
        return service()

    if well:
        service.error = None
    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(breaker.call, slow)
        assert asked.wait(60)
        with pytest.raises(ServiceError, match="left alone"):  # while the first call runs
            breaker.call(service)
        go.set()
        assert (probe.exception(60) is None) is well
    assert breaker.state == ("closed" if well else "open")


def test_what_is_not_stored_is_not_the_services_fault() -> None:
    breaker, service = Breaker("triton"), Service()
    service.error = GoneError("triton", "does not serve the model of this release")
    fail(breaker, service, 10)
    assert breaker.state == "closed"


def test_a_bug_neither_opens_it_nor_keeps_it_from_probing(clock: list[float]) -> None:
    breaker, service = Breaker("triton"), Service()
    fail(breaker, service, FAILURES)
    clock[0] = PROBE_S
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 // 0)
    service.error = None
    assert breaker.call(service)


def test_one_that_is_declared_dead_is_not_even_asked_by_those_who_insist() -> None:
    breaker, service = Breaker("triton"), Service()
    service.error = None
    breaker.declare_dead("is declared dead")
    with pytest.raises(ServiceError, match="declared dead"):
        breaker.call(service, always=True)
    assert (breaker.state, service.asked) == ("open", 0)
    breaker.declare_dead(None)
    assert breaker.call(service) == 1
