"""Connections to Redis, one server or a cluster, that retry nothing and keep the deadline of whoever uses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from data_exchange_center import wire
from data_exchange_center.redis_layout import RedisLayout
from data_exchange_center.settings import RedisSettings
from online.clients.redis_cluster import ClusterClient
from online.clients.sockets import RedisConnection


def connect(settings: RedisSettings, *, timeout_s: float | None = None, db: int = 0) -> redis.Redis:
    """A client that retries nothing; ``timeout_s``: of an answer, instead of the settings'; ``db``: of one server.

    Of a cluster it is a `ClusterClient`, which has the same methods.
    """
    if settings.cluster:
        return ClusterClient(settings, timeout_s or settings.timeout_s)  # type: ignore[return-value]
    pool = redis.ConnectionPool(
        RedisConnection,
        host=settings.host,
        port=settings.port,
        db=db,
        password=settings.password.get_secret_value() if settings.password else None,
        socket_timeout=timeout_s or settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    return redis.Redis.from_pool(pool)


@contextmanager
def at(client: redis.Redis, key: str) -> Iterator[redis.Redis]:
    """A client of the server that has a key: one pipeline of it, or one transaction, is for keys of one slot alone."""
    if isinstance(client, ClusterClient):
        with client.at(key) as server:
            yield server
    else:
        yield client


def server_of(client: redis.Redis, key: str) -> str:
    """Which server has a key: what has the same answer can be asked in one round trip."""
    return client.server_of(key) if isinstance(client, ClusterClient) else ""


def move_live(client: redis.Redis, layout: RedisLayout, release: str) -> None:
    """Have a release served from now on; it is the newest of those that were activated.

    On one server in one step. In a cluster, users of different partitions are answered from it some milliseconds after
    each other, each from one release; after an interruption it is right to do the same again.
    """
    with at(client, wire.HISTORY_KEY) as server, server.pipeline(transaction=True) as pipe:
        if not layout.cluster:
            pipe.set(wire.LIVE_KEY, release)
        pipe.lrem(wire.HISTORY_KEY, 0, release)
        pipe.lpush(wire.HISTORY_KEY, release)
        pipe.ltrim(wire.HISTORY_KEY, 0, wire.KEPT_RELEASES - 1)
        pipe.execute()
    if layout.cluster:
        client.set(wire.LIVE_KEY, release)
        set_copies(client, layout, wire.LIVE_KEY)


def set_copies(client: redis.Redis, layout: RedisLayout, key: str) -> None:
    """Bring the copies of a string up to date, where there are any: they are what it is, or absent as it is."""
    while copies := layout.copies(key):
        now: Any = client.get(key)  # typed for the asynchronous client too
        with client.pipeline(transaction=False) as pipe:
            for copy in copies:
                if now is None:
                    pipe.delete(copy)
                else:
                    pipe.set(copy, now)
            pipe.execute()
        if client.get(key) == now:  # nobody else has changed it meanwhile
            return
