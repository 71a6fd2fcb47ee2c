from contextlib import nullcontext

import pytest

from online.clients.base import FAILURES, PROBE_S, Breaker, GoneError, ServiceError

ERROR = ServiceError("triton", "cannot be reached")
REFUSED = pytest.raises(ServiceError, match="circuit breaker")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The library's clock: it stands still until a test moves it."""
    now = [0.0]
    monkeypatch.setattr(Breaker, "clock", staticmethod(lambda: now[0]))
    return now


def call(breaker: Breaker, error: Exception | None = None, times: int = 1) -> None:
    """Calls that do not have to be made, and that end with an error if one is given."""
    for _ in range(times):
        with (
            pytest.raises(type(error)) if error else nullcontext(),
            breaker.count(strict=False),
        ):
            if error:
                raise error


@pytest.mark.parametrize(
    "success",
    [None, GoneError("triton", "does not serve the model of this release")],
    ids=["an answer", "missing data"],
)
def test_one_success_resets_the_count(success: ServiceError | None) -> None:
    breaker = Breaker("triton")
    call(breaker, ERROR, FAILURES - 1)
    call(breaker, success)
    call(breaker, ERROR, FAILURES - 1)
    assert breaker.state == "closed"
    call(breaker, ERROR)
    assert breaker.state == "open"


@pytest.mark.parametrize("error", [None, ERROR])
def test_after_a_moment_one_request_finds_out(
    error: ServiceError | None, clock: list[float]
) -> None:
    breaker = Breaker("triton")
    call(breaker, ERROR, FAILURES)
    with REFUSED:
        call(breaker)
    clock[0] = PROBE_S
    assert breaker.state == "half_open"
    with (
        pytest.raises(ServiceError) if error else nullcontext(),
        breaker.count(strict=False),
    ):
        with REFUSED:
            call(breaker)  # while the first call runs
        if error:
            raise error
    assert breaker.state == ("closed" if error is None else "open")


def test_a_bug_neither_opens_it_nor_keeps_it_from_probing(clock: list[float]) -> None:
    breaker = Breaker("triton")
    call(breaker, ERROR, FAILURES)
    clock[0] = PROBE_S
    call(breaker, ZeroDivisionError())
    call(breaker)
    assert breaker.state == "closed"
