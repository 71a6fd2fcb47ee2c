from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest

from online.clients.base import FAILURES, PROBE_S, Breaker, GoneError, ServiceError

ERROR = ServiceError("triton", "cannot be reached")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The library's clock: it stands still until a test moves it."""
    now = [0.0]
    monkeypatch.setattr(Breaker, "clock", staticmethod(lambda: now[0]))
    return now


def fail(breaker: Breaker, times: int = FAILURES, error: ServiceError = ERROR) -> None:
    for _ in range(times):
        with pytest.raises(ServiceError):
            breaker.call(Mock(side_effect=error))


def test_one_success_resets_the_count() -> None:
    breaker = Breaker("triton")
    fail(breaker, FAILURES - 1)
    breaker.call(int)
    fail(breaker, FAILURES - 1)
    assert breaker.state == "closed"


@pytest.mark.parametrize("error", [None, ERROR])
def test_after_a_moment_one_request_finds_out(
    error: ServiceError | None, clock: list[float]
) -> None:
    breaker = Breaker("triton")
    fail(breaker)
    clock[0] = PROBE_S
    assert breaker.state == "half_open"
    requested, go = threading.Event(), threading.Event()

    def slow() -> None:
        requested.set()
        assert go.wait(60)
        if error is not None:
            raise error

    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(breaker.call, slow)
        assert requested.wait(60)
        with pytest.raises(
            ServiceError, match="circuit breaker"
        ):  # while the first call runs
            breaker.call(int)
        go.set()
        assert probe.exception(60) is error
    assert breaker.state == ("closed" if error is None else "open")


def test_missing_data_is_no_service_failure() -> None:
    breaker = Breaker("triton")
    fail(breaker, 10, GoneError("triton", "does not serve the model of this release"))
    assert breaker.state == "closed"


def test_a_bug_neither_opens_it_nor_keeps_it_from_probing(clock: list[float]) -> None:
    breaker = Breaker("triton")
    fail(breaker)
    clock[0] = PROBE_S
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 // 0)
    assert breaker.call(lambda: 1) == 1


def test_a_forced_open_breaker_stops_strict_requests_too() -> None:
    breaker, service = Breaker("triton"), Mock(return_value=1)
    breaker.force_open("is declared dead")
    with pytest.raises(ServiceError, match="declared dead"):
        breaker.call(service, always=True)
    assert breaker.state == "open"
    service.assert_not_called()
    breaker.force_open(None)
    assert breaker.call(service) == 1
