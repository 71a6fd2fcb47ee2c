"""Rate limit, where the settings have one: by a client's key, or by its address where it has none.

Counted in Redis, so that all workers count together; where Redis does not answer, each worker counts by itself. One
that starts while no server of a cluster answers does so until it is restarted.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from flask import Flask, Response, request
from flask_limiter import Limiter, RateLimitExceeded
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from data_exchange_center.settings import RedisSettings, ServerSettings
from extras.keys.keys import is_open
from online.clients.base import Deadline, until
from online.clients.redis import TimelyConnection
from online.web import records
from online.web.asgi import WATCHES
from online.web.guard import error_response

log = logging.getLogger(__name__)

PREFIX: Final = "recsys:rate"
_TIMEOUT_S: Final = 0.1  # after which each worker counts by itself, and retries now and then


class _Connection(TimelyConnection):
    """Waits for a whole answer no longer than `_TIMEOUT_S`, however slowly it comes."""

    def read_response(self, *arguments: Any, **more: Any) -> Any:
        with until(Deadline.after(_TIMEOUT_S)):
            return super().read_response(*arguments, **more)  # type: ignore[no-untyped-call]


def register_rate(app: Flask, server: ServerSettings, redis: RedisSettings) -> None:
    """Answer 429 to clients above ``server.rate``; health and metrics are never counted."""

    @app.errorhandler(RateLimitExceeded)
    def too_many(error: RateLimitExceeded) -> Response:
        message = f"This client asks too often: {error.description} is the limit."
        return error_response(429, "too_many_requests", message)

    if not server.rate:
        return

    def counting_in(storage: str, **options: Any) -> Limiter:
        return Limiter(
            _client,
            app=app,
            application_limits=[server.rate],
            strategy="sliding-window-counter",
            storage_uri=storage,
            storage_options=options,
            key_prefix=PREFIX,
            in_memory_fallback=[server.rate],
            headers_enabled=True,
        )

    try:
        limiter = counting_in(_address(redis), **_options(redis))
    except RedisClusterException as error:  # a cluster is connected at once, a single server with a request
        log.warning("this worker counts requests by itself until it is restarted: %s", error)
        limiter = counting_in("memory://")
    limiter.request_filter(lambda: is_open(request.path) or request.path in WATCHES)


def _client() -> str:
    key = records.current().facts.get("key")
    return f"key:{key}" if key else f"address:{request.remote_addr or 'unknown'}"


def _address(redis: RedisSettings) -> str:
    places = ",".join(f"{host}:{port}" for host, port in redis.addresses)
    return f"redis+cluster://{places}" if redis.cluster else f"redis://{places}/0"


def _options(redis: RedisSettings) -> dict[str, Any]:
    """The password is not in the address, which might be logged. Counting is not worth waiting for."""
    password = {"password": redis.password.get_secret_value()} if redis.password else {}
    patience = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    (host, port), *_ = redis.addresses
    address = {"url": f"redis://{host}:{port}"} if redis.cluster else {}  # else it takes no connection class
    return {"connection_class": _Connection, **address, **patience, **password}
