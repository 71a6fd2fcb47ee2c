"""The lists by which a release's users are looked up."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from offline_to_online.rows import RecallState
from offline_to_online.stores.base import redis_client
from offline_to_online.stores.redis import RedisStore
from online.clients.redis import RedisUsers
from tests.unit.offline_to_online.online_side import row_of

RELEASE = "aaaaaaaaaaaa"
MANIFEST: Any = SimpleNamespace(release=RELEASE)
USERS = 2_500  # of whom the last five have events, one to five


@pytest.fixture(scope="module")
def state() -> RecallState:
    rows = [row_of(n, [], None, [], [(1, 5, at) for at in range(max(0, 5 - USERS + n))]) for n in range(1, USERS + 1)]
    return RecallState(tuple(replace(row, own_id=f"ü{row.number}") for row in rows), (), b"channels")


def test_every_user_is_found_and_whoever_has_the_fewest_events_of_all(settings: Settings, state: RecallState) -> None:
    store = RedisStore(settings)
    store.load(MANIFEST, state)
    store.check(MANIFEST, state)
    events = {str(row.own_id): len(row.history) for row in state.users}
    with closing(RedisUsers(settings.redis)) as users:
        assert dict(users.some_users(RELEASE, "films", USERS)) == events
        assert users.some_users(RELEASE, "films", 100, "ü2499") == [("ü2499", 4)]
        assert len(users.some_users(RELEASE, "films", USERS, fewest=True)) == USERS
        assert users.some_users(RELEASE, "films", USERS, fewest=True)[-1] == ("ü2500", 5)
        assert [name for name, _ in users.some_users(RELEASE, "films", 3, "ü")] == ["ü1", "ü10", "ü100"]


@pytest.mark.parametrize("key", [wire.ids_key(RELEASE), wire.event_counts_key(RELEASE)])
def test_a_list_that_lacks_a_user_or_has_another_fails_the_check(
    settings: Settings, state: RecallState, key: str
) -> None:
    store = RedisStore(settings)
    store.load(MANIFEST, state)
    with redis_client(settings) as client:
        client.zadd(key, {"nobody": 0})
        with pytest.raises(CheckError, match=f"{key} in Redis lists {USERS + 1} users; there are {USERS}"):
            store.check(MANIFEST, state)
        client.zrem(key, "nobody", "ü7")
        with pytest.raises(CheckError, match=r"user 'ü7' has 0 events.*: none"):
            store.check(MANIFEST, state)
    assert not store.is_checked(RELEASE)
