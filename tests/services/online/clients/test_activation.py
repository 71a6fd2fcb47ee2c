"""Publishing, activating and retiring releases at the same time, in a real Redis."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from online.clients import publishing
from online.clients.base import StoredError
from online.clients.redis import Connected, RedisUsers, connect

OLD, LIVE, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"


@pytest.fixture
def users(settings: Settings) -> Iterator[RedisUsers]:
    with closing(RedisUsers(settings.redis)) as users:
        yield users


@pytest.fixture(autouse=True)
def server(settings: Settings, client: redis.Redis) -> Iterator[Connected]:
    client.flushdb()
    with closing(connect(settings.redis)) as server:
        for release in (OLD, LIVE):
            server.publish_release(release, "{}")
        server.activate_release(LIVE)
        yield server


def test_a_release_deleted_while_it_is_activated_stays_deleted(
    users: RedisUsers, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = publishing.put_first

    def deleted_meanwhile(pipe: redis.client.Pipeline, *releases: Any) -> None:
        client.delete(wire.manifest_key(OLD))
        original(pipe, *releases)

    monkeypatch.setattr(publishing, "put_first", deleted_meanwhile)
    with pytest.raises(StoredError, match=OLD):
        users.activate(OLD)
    assert users.listed()[0] == LIVE


def test_the_active_release_is_kept_and_the_last_published(
    users: RedisUsers, server: Connected, client: redis.Redis
) -> None:
    unknown = "dddddddddddd"
    assert users.listed() == (LIVE, [LIVE, OLD])
    assert server.retire_releases({OLD, LIVE}, 2) == set()
    server.publish_release(NEW, "{}")
    assert users.listed() == (LIVE, [NEW, LIVE, OLD])
    assert server.retire_releases({OLD, LIVE, NEW, unknown}, 2) == {OLD, unknown}
    assert users.listed() == (LIVE, [NEW, LIVE])
    assert not client.exists(wire.manifest_key(OLD))
    with pytest.raises(StoredError):
        users.activate(OLD)


def test_the_release_that_is_replaced_is_retired_last(
    users: RedisUsers, server: Connected
) -> None:
    for release in (NEW, OLD):
        server.publish_release(release, "{}")
    users.activate(NEW)
    assert users.listed() == (NEW, [NEW, LIVE, OLD])


def test_a_release_activated_meanwhile_is_not_retired(
    server: Connected, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = publishing.kept_releases, 0

    def activated_meanwhile(*listed: Any) -> list[str]:
        nonlocal calls
        calls += 1
        if calls == 1:
            client.set(wire.LIVE_KEY, OLD)
        return original(*listed)

    monkeypatch.setattr(publishing, "kept_releases", activated_meanwhile)
    server.publish_release(NEW, "{}")
    assert server.retire_releases({OLD, LIVE, NEW}, 2) == {LIVE}
    assert calls == 2


def test_the_active_release_of_an_earlier_version_is_kept(
    users: RedisUsers, server: Connected, client: redis.Redis
) -> None:
    """An exchange folder of a version without the list has the pointer and the manifests alone."""
    client.delete(wire.PUBLISHED_KEY)
    assert users.listed() == (LIVE, [LIVE])
    server.publish_release(NEW, "{}")
    users.activate(NEW)
    assert server.retire_releases({OLD, LIVE, NEW}, 3) == {OLD}
    assert users.listed() == (NEW, [NEW, LIVE])
