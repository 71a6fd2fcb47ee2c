"""Activating and deleting releases at the same time, in a real Redis."""

from __future__ import annotations

from contextlib import closing

import pytest
import redis

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from online.clients import redis as clients
from online.clients.base import StoredError
from online.clients.redis import RedisUsers, connect

OLD, LIVE = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


@pytest.fixture(autouse=True)
def _published(client: redis.Redis) -> None:
    client.flushdb()
    for release in (OLD, LIVE):
        client.set(wire.manifest_key(release), "{}")
    client.set(wire.LIVE_KEY, LIVE)
    client.lpush(wire.ACTIVATED_KEY, LIVE)


def test_a_release_deleted_while_it_is_activated_stays_deleted(
    settings: Settings, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = clients.note_activated

    def deleted_meanwhile(pipe: redis.client.Pipeline, release: str) -> None:
        client.delete(wire.manifest_key(release))
        original(pipe, release)

    monkeypatch.setattr(clients, "note_activated", deleted_meanwhile)
    with closing(RedisUsers(settings.redis)) as users:
        with pytest.raises(StoredError, match=OLD):
            users.activate(OLD)
        assert users.activated() == (LIVE, [LIVE])


def test_an_activated_release_is_not_retired(settings: Settings) -> None:
    with closing(RedisUsers(settings.redis)) as users, closing(connect(settings.redis)) as server:
        assert not server.retire(LIVE)
        users.activate(OLD)
        assert not server.retire(OLD)
        assert users.activated() == (OLD, [OLD, LIVE])
        server.lrem(wire.ACTIVATED_KEY, 0, LIVE)
        assert server.retire(LIVE)
        with pytest.raises(StoredError):
            users.activate(LIVE)
