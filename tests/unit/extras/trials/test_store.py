from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from extras.trials import exposures
from extras.trials.exposures import BATCH, ExposureQueue
from extras.trials.store import is_cut
from online.clients.base import ServiceError
from tests.unit.extras.fakes import FakeTrials
from tests.unit.extras.trials import contracts
from tests.unit.online.fakes import FakeUsers
from tests.unit.online.world import SourceWorld
from tests.waiting import until


class Redis:
    def __init__(self) -> None:
        self.written: list[int] = []
        self.batches: list[int] = []
        self.away = False
        self.attempts = 0
        self.counts: Counter[str] = Counter()

    def write(self, batch: Sequence[int]) -> None:
        self.attempts += 1
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


def test_all_are_written_in_order_and_in_batches(redis: Redis) -> None:
    queue = ExposureQueue(redis.write, redis.count)
    for number in range(3 * BATCH):
        queue.put(number)
    until(lambda: redis.counts["written"] == 3 * BATCH)
    queue.close()
    assert redis.written == list(range(3 * BATCH))
    assert max(redis.batches) <= BATCH
    assert redis.counts == {"written": 3 * BATCH}


def test_exposures_wait_for_redis_and_drops_are_counted(redis: Redis) -> None:
    redis.away = True
    queue = ExposureQueue(redis.write, redis.count, capacity=5)
    for number in range(8):
        queue.put(number)
    assert redis.counts == {"dropped": 3}
    redis.away = False
    until(lambda: redis.counts["written"] == 5)
    assert redis.written == list(range(5))
    queue.close()


def test_at_the_end_what_waits_is_written(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposures, "EVERY_S", 60.0)
    monkeypatch.setattr(exposures, "END_S", 60.0)
    queue = ExposureQueue(redis.write, redis.count)
    queue.put(1)
    queue.close()
    assert redis.written == [1]


def test_a_redis_that_is_away_is_logged_once(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    queue = ExposureQueue(redis.write)
    for number in range(2):  # away twice
        redis.away, redis.attempts = True, 0
        queue.put(number)
        until(lambda: redis.attempts > 2)
        redis.away = False
        until(lambda: not queue._waiting)
    queue.close()
    assert sum("wait" in record.getMessage() for record in caplog.records) == 2


def test_the_end_does_not_wait_for_a_redis_that_is_away(redis: Redis) -> None:
    redis.away = True
    queue = ExposureQueue(redis.write, redis.count)
    queue.put(1)
    queue.close()
    assert redis.counts == {"dropped": 1}


@pytest.mark.parametrize(
    ("length", "first", "cut"),
    [
        (300, b"1000001-0", True),
        (299, b"1000001-0", False),  # others' exposures were removed
        (300, b"1000000-5", False),  # what was dropped is of before
        (0, None, False),
    ],
)
def test_a_log_is_cut_if_full_and_begun_after_the_experiment(
    length: int, first: bytes | None, cut: bool
) -> None:
    entry = first and (first, {b"user": b"7"})
    assert is_cut({"length": length, "first-entry": entry}, 1_000, 300) == cut


class TestFakeTrials(contracts.TrialStoreContract):
    @pytest.fixture
    def client(self) -> FakeTrials:
        return FakeTrials(FakeUsers(SourceWorld(), live=contracts.LIVE))
