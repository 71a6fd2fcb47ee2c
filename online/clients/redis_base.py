"""What all that asks Redis has in common: which errors are its own, what a ping says."""

from __future__ import annotations

from typing import ClassVar, TypeVar

import redis

from data_exchange_center.redis_layout import RedisLayout
from data_exchange_center.settings import RedisSettings
from online.clients.base import Client
from online.clients.redis_cluster import ERRORS, MOVED
from online.clients.redis_connection import connect

Query = TypeVar("Query")
Answer = TypeVar("Answer")


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
