from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from extras.experiments import store
from extras.experiments.store import BATCH, EXPOSURE, Exposure, ExposureQueue, is_cut
from online.clients.base import ServiceError
from tests.unit.extras.experiments import contracts
from tests.unit.extras.fakes import FakeExperiments
from tests.unit.online.fakes import FakeUsers
from tests.unit.online.world import SourceWorld
from tests.waiting import until


def exposure(number: int) -> Exposure:
    return Exposure(
        "ranker",
        "control",
        f"r{number}",
        "films",
        "陌生人",
        "a" * 12,
        True,
        7,
        7_000,
        (1, "u-8"),
        "01",
    )


class Redis:
    def __init__(self) -> None:
        self.written: list[Exposure] = []
        self.away = False
        self.attempts = 0
        self.counts: Counter[str] = Counter()
        self.batches: list[int] = []

    def write(self, batch: Sequence[Exposure]) -> None:
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
        monkeypatch.setattr(store, name, 0.02)
    return Redis()


def test_an_exposure_comes_back_as_it_was_packed() -> None:
    assert EXPOSURE.validate_json(EXPOSURE.dump_json(exposure(1))) == exposure(1)


def test_all_are_written_in_order_and_in_batches(redis: Redis) -> None:
    queue = ExposureQueue(redis.write, redis.count)
    sent = [exposure(number) for number in range(3 * BATCH)]
    for each in sent:
        queue.put(each)
    until(lambda: redis.counts["written"] == len(sent))
    queue.close()
    assert redis.written == sent
    assert max(redis.batches) <= BATCH
    assert redis.counts == {"written": len(sent)}


def test_exposures_wait_for_redis_and_drops_are_counted(redis: Redis) -> None:
    redis.away = True
    queue = ExposureQueue(redis.write, redis.count, capacity=5)
    for number in range(8):
        queue.put(exposure(number))
    assert redis.counts == {"dropped": 3}
    redis.away = False
    until(lambda: redis.counts["written"] == 5)
    assert redis.written == [exposure(number) for number in range(5)]
    queue.close()


def test_at_the_end_what_waits_is_written(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "EVERY_S", 60.0)
    monkeypatch.setattr(store, "END_S", 60.0)
    queue = ExposureQueue(redis.write, redis.count)
    queue.put(exposure(1))
    queue.close()
    assert redis.written == [exposure(1)]


def test_a_redis_that_is_away_is_logged_once(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    queue = ExposureQueue(redis.write)
    for number in range(2):  # away twice
        redis.away, redis.attempts = True, 0
        queue.put(exposure(number))
        until(lambda: redis.attempts > 2)
        redis.away = False
        until(lambda: not redis.away and not queue._waiting)
    queue.close()
    assert sum("wait" in record.getMessage() for record in caplog.records) == 2


def test_the_end_does_not_wait_for_a_redis_that_is_away(redis: Redis) -> None:
    redis.away = True
    queue = ExposureQueue(redis.write, redis.count)
    queue.put(exposure(1))
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
    entry = None if first is None else (first, {b"user": b"7"})
    assert (
        is_cut(
            {"length": length, "first-entry": entry, "entries-added": 5_000}, 1_000, 300
        )
        == cut
    )


class TestFakeExperiments(contracts.ExperimentStoreContract):
    @pytest.fixture
    def users(self) -> FakeUsers:
        return FakeUsers(SourceWorld(), live=contracts.LIVE)

    @pytest.fixture
    def client(self, users: FakeUsers) -> FakeExperiments:
        return FakeExperiments(users)
