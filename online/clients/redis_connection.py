"""Connections to Redis, one server or a cluster, that retry nothing and keep the deadline of their thread."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Final, Protocol, TypeVar, runtime_checkable

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisClusterException
from redis.retry import Retry

from data_exchange_center import wire
from data_exchange_center.settings import RedisSettings
from data_exchange_center.wire import RedisLayout
from online.clients.base import Client
from online.clients.deadline import current

Query = TypeVar("Query")
Answer = TypeVar("Answer")
Result = TypeVar("Result")

# Of redis-py, whose error where no node says who has which slot is none of its RedisErrors.
ERRORS: Final[tuple[type[Exception], ...]] = (redis.RedisError, RedisClusterException, OSError)
# What says that another server has the slot by now, or will have it soon.
MOVED: Final = (MovedError, AskError, ClusterDownError, redis.ReadOnlyError, redis.ConnectionError, redis.TimeoutError)


class DeadlineSocket(socket.socket):
    """A socket of which every operation has its own timeout, or what is left of the deadline where that is less.

    A timeout counts each read alone, so redis-py would follow a server that sends a byte now and then for ever. Waiting
    for the call in a thread would keep the deadline as well, but leave the thread with that server.
    """

    @classmethod
    def over(cls, plain: socket.socket) -> DeadlineSocket:
        """The same connection; ``plain`` is not used afterwards."""
        timeout = plain.gettimeout()
        limited = cls(plain.family, plain.type, plain.proto, fileno=plain.detach())
        limited.settimeout(timeout)
        return limited

    def _within(self, operation: Callable[..., Result], *arguments: Any) -> Result:
        deadline, own = current(), self.gettimeout()
        if deadline is None or (own is not None and own <= deadline.left()):
            return operation(*arguments)
        if not (left := deadline.left()):
            raise TimeoutError("the deadline is over")
        self.settimeout(left)
        try:
            return operation(*arguments)
        finally:
            if self.fileno() >= 0:
                self.settimeout(own)

    def recv(self, *arguments: Any) -> bytes:
        return self._within(super().recv, *arguments)

    def recv_into(self, *arguments: Any) -> int:
        return self._within(super().recv_into, *arguments)

    def send(self, *arguments: Any) -> int:
        return self._within(super().send, *arguments)

    def sendall(self, *arguments: Any) -> None:
        self._within(super().sendall, *arguments)


class TimelyConnection(redis.Connection):
    """A connection of redis-py's pool that keeps the deadline of the thread that uses it, while it is made, too."""

    def _connect(self) -> socket.socket:
        configured = self.socket_connect_timeout
        if (deadline := current()) is not None:
            self.socket_connect_timeout = max(min(configured or deadline.left(), deadline.left()), 1e-3)
        try:
            return DeadlineSocket.over(super()._connect())  # type: ignore[no-untyped-call]
        finally:
            self.socket_connect_timeout = configured


def connect(settings: RedisSettings, *, timeout_s: float | None = None, db: int = 0) -> redis.Redis:
    """A client that retries nothing; ``timeout_s``: of an answer, instead of the settings'; ``db``: of one server.

    Of a cluster it is a `ClusterClient`, which has the same methods.
    """
    if settings.cluster:
        from online.clients.redis_cluster import ClusterClient  # what is past one machine is imported where it is used

        return ClusterClient(settings, timeout_s or settings.timeout_s)  # type: ignore[return-value]
    pool = redis.ConnectionPool(
        TimelyConnection,
        host=settings.host,
        port=settings.port,
        db=db,
        password=settings.password.get_secret_value() if settings.password else None,
        socket_timeout=timeout_s or settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    return redis.Redis.from_pool(pool)


@runtime_checkable
class Partitioned(Protocol):
    """A client of several servers, each with a part of the keys; see `redis_cluster`."""

    def at(self, key: str) -> AbstractContextManager[redis.Redis]: ...

    def server_of(self, key: str) -> str: ...


@contextmanager
def at(client: redis.Redis, key: str) -> Iterator[redis.Redis]:
    """A client of the server that has a key: one pipeline of it, or one transaction, is for keys of one slot alone."""
    if isinstance(client, Partitioned):
        with client.at(key) as server:
            yield server
    else:
        yield client


def server_of(client: redis.Redis, key: str) -> str:
    """Name of the server that has a key: keys of one server can be read in one round trip."""
    return client.server_of(key) if isinstance(client, Partitioned) else ""


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


class RedisClient(Client[Query, Answer]):
    """A client of the database where the user state lies. Subclasses write `_call`."""

    service: ClassVar[str] = "redis"
    library_errors: ClassVar[tuple[type[Exception], ...]] = ERRORS

    def __init__(self, settings: RedisSettings, timeout_s: float | None = None) -> None:
        """``timeout_s``: of a call, if not as the settings say."""
        self.timeout_s = timeout_s or settings.timeout_s
        self._redis = connect(settings, timeout_s=timeout_s)
        self._layout = RedisLayout(settings.cluster)

    def _is_lost(self, error: Exception) -> bool:
        return isinstance(error, MOVED) and not isinstance(error, redis.TimeoutError)

    def _ping(self) -> str:
        info: dict[str, object] = self._redis.info("server")  # type: ignore[assignment]
        return str(info.get("valkey_version", info["redis_version"]))

    def close(self) -> None:
        self._redis.close()
