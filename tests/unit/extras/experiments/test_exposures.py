"""The queue of exposures: nobody waits for it, it loses nothing while there is room, and it says what it loses."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from tenacity import Retrying, stop_after_delay, wait_fixed

from extras.experiments import exposures
from extras.experiments.exposures import BATCH, Exposure, ExposureQueue
from online.clients.base import ServiceError


def exposure(number: int) -> Exposure:
    return Exposure("ranker", "control", f"r{number}", "films", "陌生人", "a" * 12, True, 7, 7_000, (1, "u-8"), "01")


class Redis:
    def __init__(self) -> None:
        self.written: list[Exposure] = []
        self.away = False
        self.counts: Counter[str] = Counter()
        self.batches: list[int] = []

    def write(self, batch: Sequence[Exposure]) -> None:
        if self.away:
            raise ServiceError("redis", "cannot be reached")
        self.batches.append(len(batch))
        self.written += batch

    def count(self, what: str, number: int) -> None:
        self.counts[what] += number


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Redis:
    for name in ("EVERY_S", "AGAIN_S", "END_S"):
        monkeypatch.setattr(exposures, name, 0.02)
    return Redis()


def eventually(condition: Callable[[], bool]) -> None:
    for attempt in Retrying(stop=stop_after_delay(20), wait=wait_fixed(0.01), reraise=True):
        with attempt:
            assert condition()


def test_an_exposure_comes_back_as_it_was_packed() -> None:
    assert Exposure.unpack(exposure(1).pack()) == exposure(1)


def test_all_are_written_in_order_and_in_batches(redis: Redis) -> None:
    queue = ExposureQueue(redis.write, redis.count)
    sent = [exposure(number) for number in range(3 * BATCH)]
    for each in sent:
        queue.put(each)
    eventually(lambda: redis.counts["written"] == len(sent))
    queue.close()
    assert redis.written == sent
    assert max(redis.batches) <= BATCH
    assert redis.counts == {"written": len(sent)}


def test_while_redis_is_away_they_wait_and_those_without_room_are_counted(redis: Redis) -> None:
    redis.away = True
    queue = ExposureQueue(redis.write, redis.count, room=5)
    for number in range(8):
        queue.put(exposure(number))
    assert redis.counts == {"dropped": 3}
    redis.away = False
    eventually(lambda: redis.counts["written"] == 5)
    assert redis.written == [exposure(number) for number in range(5)]
    queue.close()


def test_at_the_end_what_waits_is_written(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposures, "EVERY_S", 60.0)
    queue = ExposureQueue(redis.write, redis.count)
    queue.put(exposure(1))
    queue.close()
    assert redis.written == [exposure(1)]


def test_the_end_does_not_wait_for_a_redis_that_is_away(redis: Redis) -> None:
    redis.away = True
    queue = ExposureQueue(redis.write, redis.count)
    queue.put(exposure(1))
    queue.close()
    assert redis.counts == {"dropped": 1}


def test_without_an_exposure_there_is_no_thread() -> None:
    before = threading.active_count()
    queue = ExposureQueue(lambda _: None)
    assert threading.active_count() == before
    queue.close()
