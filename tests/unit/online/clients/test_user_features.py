from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from online.clients import base
from online.clients.base import FAILURES, Deadline, ServiceError
from online.clients.feast import MAX_USERS, FeatureQuery, FeatureRows, UserFeatures
from tests.unit.online.fakes import FakeFeatures
from tests.unit.online.world import NO_FEATURES_USER, SourceWorld, World


def soon(seconds: float = 30.0) -> Deadline:
    return Deadline.after(seconds)


class SlowFeatures(FakeFeatures):
    def __init__(self, *worlds: World) -> None:
        super().__init__(*worlds)
        self.requested = threading.Semaphore(0)
        self.go = threading.Event()

    def _call(self, query: FeatureQuery) -> FeatureRows:
        self.requested.release()
        assert self.go.wait(60)
        return super()._call(query)


@pytest.fixture
def store() -> Iterator[SlowFeatures]:
    slow = SlowFeatures(SourceWorld(), SourceWorld(release="bbbbbbbbbbbb"))
    yield slow
    slow.go.set()


@pytest.fixture
def features(store: SlowFeatures) -> Iterator[UserFeatures]:
    users = UserFeatures(store)
    yield users
    store.go.set()
    users.close()


def test_requests_during_a_call_share_the_next_one(
    store: SlowFeatures, features: UserFeatures
) -> None:
    world = SourceWorld()
    first = features.fetch(world.release, 1, soon())
    assert store.requested.acquire(timeout=60)
    rest = {
        userid: features.fetch(world.release, userid, soon())
        for userid in (8, 2, NO_FEATURES_USER, 3)
    }
    again = features.fetch(world.release, 8, soon())
    assert features.waiting == 5
    store.go.set()
    assert features.result(first).columns["userid"] == [1]
    for userid, requested in [*rest.items(), (8, again)]:
        rows = features.result(requested)
        if userid == NO_FEATURES_USER:
            assert rows.ids == ()
            assert set(rows.missing) == {userid}
        else:
            assert rows.ids == (userid,)
            assert {name: values[0] for name, values in rows.columns.items()} == {
                "userid": userid,
                **world.user_features[userid],
            }
    assert [list(query.ids) for query in store.calls] == [
        [1],
        [2, 3, NO_FEATURES_USER, 8],
    ]


def test_releases_are_never_mixed_and_calls_are_bounded(
    store: SlowFeatures, features: UserFeatures
) -> None:
    features.fetch("aaaaaaaaaaaa", 1, soon())
    assert store.requested.acquire(timeout=60)
    requested = [
        features.fetch("aaaaaaaaaaaa", userid, soon())
        for userid in range(100, 100 + MAX_USERS + 5)
    ]
    other = features.fetch("bbbbbbbbbbbb", 1, soon())
    store.go.set()
    assert features.result(other).ids == (1,)
    assert all(features.result(one).ids == () for one in requested)
    assert [(query.release[0], len(query.ids)) for query in store.calls] == [
        ("a", 1),
        ("a", MAX_USERS),
        ("a", 5),
        ("b", 1),
    ]


def test_an_error_reaches_everybody_who_shared_the_call(
    store: SlowFeatures, features: UserFeatures
) -> None:
    store.down = True
    requested = [features.fetch("aaaaaaaaaaaa", userid, soon()) for userid in (1, 2, 3)]
    store.go.set()
    for one in requested:
        with pytest.raises(ServiceError, match="feast"):
            features.result(one)


def test_no_request_waits_beyond_its_deadline(
    store: SlowFeatures, features: UserFeatures
) -> None:
    features.fetch("aaaaaaaaaaaa", 1, soon())
    assert store.requested.acquire(timeout=60)
    queued = features.fetch("aaaaaaaaaaaa", 2, soon(0.1))
    started = time.perf_counter()
    with pytest.raises(ServiceError, match="in time"):
        features.result(queued)
    assert time.perf_counter() - started < 15
    store.go.set()
    features.close()
    # no query for a request that gave up
    assert [list(query.ids) for query in store.calls] == [[1]]


def test_strict_requests_delay_no_others(
    store: SlowFeatures, features: UserFeatures
) -> None:
    strict = features.fetch("aaaaaaaaaaaa", 1, soon(), strict=True)
    assert store.requested.acquire(timeout=60)
    other = features.fetch("aaaaaaaaaaaa", 2, soon())
    # though the first call is still in flight
    assert store.requested.acquire(timeout=60)
    store.go.set()
    assert (features.result(strict).ids, features.result(other).ids) == ((1,), (2,))


def test_nobody_queues_behind_a_probe_of_a_dead_service(
    store: SlowFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "PROBE_S", 1e-6)
    features = UserFeatures(store)
    store.down = True
    store.go.set()
    for _ in range(FAILURES):
        with pytest.raises(ServiceError, match="feast"):
            features.result(features.fetch("aaaaaaaaaaaa", 1, soon()))
        assert store.requested.acquire(timeout=60)
    store.down = False
    store.go.clear()
    probe = features.fetch("aaaaaaaaaaaa", 1, soon())
    assert store.requested.acquire(timeout=60)
    other = features.fetch("aaaaaaaaaaaa", 2, soon())
    assert other.rows.done()
    with pytest.raises(ServiceError, match="circuit breaker"):
        features.result(other)
    store.go.set()
    assert features.result(probe).ids == (1,)
    features.close()


def test_a_missing_column_is_an_error_for_all_who_share_it() -> None:
    """Nobody waits until the deadline for an answer that will not come."""

    class Uneven(FakeFeatures):
        def _call(self, query: FeatureQuery) -> FeatureRows:
            return FeatureRows(tuple(query.ids), {"userid": []}, {})

    features = UserFeatures(Uneven(SourceWorld()))
    requested = features.fetch(SourceWorld().release, 1, soon(120))
    with pytest.raises(IndexError):
        requested.rows.result(60)
    features.close()
