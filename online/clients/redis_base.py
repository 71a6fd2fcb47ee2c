"""What all that asks Redis has in common: how it is connected, which errors are its own, what a ping says."""

from __future__ import annotations

from typing import ClassVar, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from data_exchange_center.settings import RedisSettings
from online.clients.base import Client
from online.clients.sockets import RedisConnection

Query = TypeVar("Query")
Answer = TypeVar("Answer")


def connect(settings: RedisSettings, *, timeout_s: float | None = None, db: int = 0) -> redis.Redis:
    """A client that retries nothing; ``timeout_s``: of an answer, instead of the settings'."""
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


class RedisClient(Client[Query, Answer]):
    """A client of the database where the user state lies. Subclasses write `_call`."""

    service: ClassVar[str] = "redis"
    library_errors: ClassVar[tuple[type[Exception], ...]] = (redis.RedisError, OSError)

    def __init__(self, settings: RedisSettings, timeout_s: float | None = None) -> None:
        """``timeout_s``: of a call, if not as the settings say."""
        self.timeout_s = timeout_s or settings.timeout_s
        self._redis = connect(settings, timeout_s=timeout_s)

    def _is_lost(self, error: Exception) -> bool:
        return isinstance(error, redis.ConnectionError)

    def _ping(self) -> str:
        info: dict[str, object] = self._redis.info("server")  # type: ignore[assignment]
        return str(info.get("valkey_version", info["redis_version"]))

    def close(self) -> None:
        self._redis.close()
