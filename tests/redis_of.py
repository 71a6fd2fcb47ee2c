"""A plain client of a stack's Redis, for what tests read and write behind the product's back."""

from __future__ import annotations

from typing import Any

import redis

from data_exchange_center.settings import Settings


def redis_of(settings: Settings, **more: Any) -> redis.Redis:
    """Return redis-py's client; ``more``: of its arguments."""
    socket = settings.redis.socket
    place = (
        {"unix_socket_path": str(socket)}
        if socket
        else {"host": settings.redis.host, "port": settings.redis.port}
    )
    return redis.Redis(**place, password=settings.redis.secret, **more)  # type: ignore[arg-type]
