"""The lists by which a release's users are looked up."""

from contextlib import closing
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from extras.page.hook import Listing, UserList
from offline_to_online.rows import RecallState
from offline_to_online.stores.base import redis_client
from offline_to_online.stores.redis import RedisStore
from online.clients.base import StoredError
from tests.unit.offline_to_online.online_side import row_of

RELEASE, NOWHERE = "aaaaaaaaaaaa", "ffffffffffff"
MANIFEST: Any = SimpleNamespace(release=RELEASE)
USERS = 2_500  # of which the last five have events, one to five


@pytest.fixture(scope="module")
def state() -> RecallState:
    rows = [
        row_of(n, [], None, [], [(1, 5, at) for at in range(max(0, 5 - USERS + n))])
        for n in range(1, USERS + 1)
    ]
    return RecallState(
        tuple(replace(row, own_id=f"ü{row.number}") for row in rows), (), b"channels"
    )


def test_every_user_is_found_also_the_least_active(
    settings: Settings, state: RecallState
) -> None:
    store = RedisStore(settings)
    store.load(MANIFEST, state)
    store.check(MANIFEST, state)
    events = {str(row.own_id): len(row.history) for row in state.users}
    with closing(UserList(settings.redis)) as users:
        listed = partial(Listing, RELEASE, "films")
        assert users.call(listed(USERS)) == sorted(
            events.items(), key=lambda user: user[0].encode()
        )
        assert [name for name, _ in users.call(listed(3))] == ["ü1", "ü10", "ü100"]
        assert users.call(listed(100, "ü2499")) == [("ü2499", 4)]
        assert users.call(listed(100, "no such id")) == []
        assert len(users.call(listed(USERS, fewest=True))) == USERS
        assert users.call(listed(USERS, fewest=True))[-1] == ("ü2500", 5)
        for fewest in (False, True):
            with pytest.raises(
                StoredError, match=f"no list of the users of release {NOWHERE}"
            ):
                users.call(Listing(NOWHERE, "films", 100, fewest=fewest))


@pytest.mark.parametrize("key", [wire.ids_key(RELEASE), wire.event_counts_key(RELEASE)])
def test_a_list_that_lacks_a_user_or_has_another_fails_the_check(
    settings: Settings, state: RecallState, key: str
) -> None:
    store = RedisStore(settings)
    store.load(MANIFEST, state)
    with redis_client(settings) as client:
        client.zadd(key, {"nobody": 0})
        with pytest.raises(CheckError, match=key):
            store.check(MANIFEST, state)
        client.zrem(key, "nobody", "ü7")
        with pytest.raises(CheckError, match=key):
            store.check(MANIFEST, state)
    assert not store.is_checked(RELEASE)


def test_a_load_without_users_leaves_none_of_the_ones_before(
    settings: Settings, state: RecallState
) -> None:
    store = RedisStore(settings)
    store.load(MANIFEST, state)
    nobody = replace(state, users=())
    store.load(MANIFEST, nobody)
    store.check(MANIFEST, nobody)


def test_loaded_releases_are_listed_until_deleted(
    settings: Settings, state: RecallState
) -> None:
    """An interrupted load, too: by this list a forgotten user is found in each of them."""
    store = RedisStore(settings)
    with redis_client(settings) as client:
        store.load(MANIFEST, state)
        assert client.sismember(wire.LOADED_KEY, RELEASE)
        store.delete([RELEASE])
        assert not client.sismember(wire.LOADED_KEY, RELEASE)
