from __future__ import annotations

import pytest

from extras.trials import exposures
from extras.trials.exposures import ExposureQueue
from online.clients.base import ServiceError
from tests.unit.extras.fakes import FakeTrials
from tests.unit.extras.trials import contracts
from tests.unit.extras.trials.test_outcomes import shown
from tests.unit.online.fakes import FakeUsers
from tests.unit.online.world import SourceWorld


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> FakeTrials:
    monkeypatch.setattr(exposures, "CAPACITY", 5)
    monkeypatch.setattr(exposures, "BATCH", 2)
    return FakeTrials(FakeUsers(SourceWorld(), live=contracts.LIVE))


def test_exposures_wait_for_redis(redis: FakeTrials) -> None:
    """They are written in order, in batches, when Redis is back; what there is no room for is dropped."""
    queue = ExposureQueue(redis.expose)
    redis.down = True
    for number in range(8):
        queue.put(shown(number, number))
    with pytest.raises(ServiceError):
        queue.flush()
    redis.down = False
    redis.calls.clear()
    assert queue.flush()
    assert [each.userid for each in redis.exposed] == list(range(5))
    assert len(redis.calls) == 3


@pytest.mark.parametrize("away", [False, True])
def test_at_the_end_what_waits_is_written_or_lost(
    redis: FakeTrials, caplog: pytest.LogCaptureFixture, away: bool
) -> None:
    queue = ExposureQueue(redis.expose)
    queue.put(shown(1, 1))
    redis.down = away
    queue.close()
    assert len(redis.exposed) == (not away)
    assert ("1 exposures are lost" in caplog.text) == away


class TestFakeTrials(contracts.TrialStoreContract):
    @pytest.fixture
    def client(self) -> FakeTrials:
        return FakeTrials(FakeUsers(SourceWorld(), live=contracts.LIVE))
