from __future__ import annotations

from concurrent.futures import Future

import pytest

from online.recommend.types import Stopwatch


def test_stages_come_in_the_order_of_a_request_and_the_total_last() -> None:
    watch = Stopwatch()
    for name in ("triton", "redis"):
        with watch.stage(name):
            pass
    assert list(watch.took_ms()) == ["redis", "triton", "total"]
    assert watch.took_ms()["total"] >= watch.took_ms()["redis"] >= 0
    assert watch.began <= watch.stages["triton"].began <= watch.stages["redis"].began


def test_a_stage_that_fails_is_timed_and_said_to_have_failed() -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError, match="no"), watch.stage("redis"):
        raise ValueError("no")
    assert watch.stages["redis"].failed
    with watch.stage("redis"):
        pass
    assert not watch.stages["redis"].failed  # the retry


@pytest.mark.parametrize("outcome", ["answered", "failed", "cancelled"])
def test_a_stage_beside_the_others_ends_with_its_future(outcome: str) -> None:
    watch, future = Stopwatch(), Future[int]()
    future.add_done_callback(watch.until_done("feast"))
    assert watch.stages == {}
    if outcome == "answered":
        future.set_result(1)
    elif outcome == "failed":
        future.set_exception(ValueError())
    else:
        future.cancel()
    assert watch.stages["feast"].failed is (outcome != "answered")
