import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from online.clients import base
from online.clients.base import FAILURES, Deadline, ServiceError
from online.clients.feast import (
    MAX_USERS,
    FeatureQuery,
    FeatureRows,
    PendingRow,
    UserFeatures,
)
from tests.unit.online.fakes import FakeFeatures
from tests.unit.online.world import NO_FEATURES_USER, SourceWorld, World

WORLD = SourceWorld()


class SlowFeatures(FakeFeatures):
    """They answer once the test says so."""

    def __init__(self, *worlds: World) -> None:
        super().__init__(*worlds)
        self.requested = threading.Semaphore(0)
        self.go = threading.Event()

    def _call(self, query: FeatureQuery) -> FeatureRows:
        self.requested.release()
        assert self.go.wait(60)
        return super()._call(query)

    def wait_for_a_call(self) -> None:
        assert self.requested.acquire(timeout=60)

    @property
    def asked(self) -> list[list[int]]:
        return [list(query.ids) for query in self.calls]


@pytest.fixture
def store() -> SlowFeatures:
    return SlowFeatures(WORLD, SourceWorld(release="bbbbbbbbbbbb"))


@pytest.fixture
def features(store: SlowFeatures) -> Iterator[UserFeatures]:
    users = UserFeatures(store)
    yield users
    store.go.set()
    users.close()


@pytest.fixture
def fetch(features: UserFeatures) -> Callable[..., PendingRow]:
    """Begin to fetch a user's row."""

    def begin(
        number: int, release: str = WORLD.release, seconds: float = 30, **more: Any
    ) -> PendingRow:
        return features.fetch(release, number, Deadline.after(seconds), **more)

    return begin


Fetch = Callable[..., PendingRow]


def test_requests_during_a_call_share_the_next_one(
    store: SlowFeatures, features: UserFeatures, fetch: Fetch
) -> None:
    first = fetch(1)
    store.wait_for_a_call()
    rest = [(userid, fetch(userid)) for userid in (8, 2, NO_FEATURES_USER, 3, 8)]
    store.go.set()
    assert features.result(first).columns["userid"] == [1]
    for userid, requested in rest:
        rows = features.result(requested)
        if userid == NO_FEATURES_USER:
            assert (rows.ids, [*rows.missing]) == ((), [userid])
        else:
            expected = {"userid": userid, **WORLD.user_features[userid]}
            assert rows.ids == (userid,)
            assert rows.columns == {name: [value] for name, value in expected.items()}
    assert store.asked == [[1], [2, 3, NO_FEATURES_USER, 8]]


def test_releases_are_never_mixed_and_calls_are_bounded(
    store: SlowFeatures, features: UserFeatures, fetch: Fetch
) -> None:
    fetch(1)
    store.wait_for_a_call()
    requested = [fetch(userid) for userid in range(100, 100 + MAX_USERS + 5)]
    other = fetch(1, "bbbbbbbbbbbb")
    store.go.set()
    assert features.result(other).ids == (1,)
    assert all(features.result(one).ids == () for one in requested)
    sizes = [(query.release[0], len(query.ids)) for query in store.calls]
    assert sizes == [("a", 1), ("a", MAX_USERS), ("a", 5), ("b", 1)]


def test_an_error_reaches_everybody_who_shared_the_call(
    store: SlowFeatures, features: UserFeatures, fetch: Fetch
) -> None:
    store.down = True
    requested = [fetch(userid) for userid in (1, 2, 3)]
    store.go.set()
    for one in requested:
        with pytest.raises(ServiceError, match="feast"):
            features.result(one)


def test_no_request_waits_beyond_its_deadline(
    store: SlowFeatures, features: UserFeatures, fetch: Fetch
) -> None:
    fetch(1)
    store.wait_for_a_call()
    queued = fetch(2, seconds=0.1)
    started = time.perf_counter()
    with pytest.raises(ServiceError, match="in time"):
        features.result(queued)
    assert time.perf_counter() - started < 15
    store.go.set()
    features.close()
    assert store.asked == [[1]]  # no query for a request that gave up


def test_strict_requests_delay_no_others(
    store: SlowFeatures, features: UserFeatures, fetch: Fetch
) -> None:
    strict = fetch(1, strict=True)
    store.wait_for_a_call()
    other = fetch(2)
    store.wait_for_a_call()  # though the first one is still in flight
    store.go.set()
    assert (features.result(strict).ids, features.result(other).ids) == ((1,), (2,))


def test_nobody_queues_behind_a_probe_of_a_dead_service(
    store: SlowFeatures,
    features: UserFeatures,
    fetch: Fetch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "PROBE_S", 1e-6)
    store.down = True
    store.go.set()
    for _ in range(FAILURES):
        with pytest.raises(ServiceError, match="feast"):
            features.result(fetch(1))
        store.wait_for_a_call()
    store.down = False
    store.go.clear()
    probe = fetch(1)
    store.wait_for_a_call()
    other = fetch(2)
    assert other.rows.done()
    with pytest.raises(ServiceError, match="circuit breaker"):
        features.result(other)
    store.go.set()
    assert features.result(probe).ids == (1,)


def test_a_missing_column_is_an_error_for_all_who_share_it(
    store: SlowFeatures, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits until the deadline for an answer that will not come."""
    uneven = FeatureRows((1,), {"userid": []}, {})
    monkeypatch.setattr(store, "_call", lambda _: uneven)
    with pytest.raises(IndexError):
        fetch(1, seconds=120).rows.result(60)
