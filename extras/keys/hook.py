"""API keys, and rate limits by a client's key or, where it has none, by its address.

Keys are issued one by one, kept as hashes, and read again as soon as their file changes. A key is 32 random bytes: its
SHA-256 reveals nothing, and a slow hash as for passwords is not needed.
"""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import quote

from flask import Flask, Response, request
from flask_limiter import Limiter, RateLimitExceeded
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from data_exchange_center.settings import RedisSettings, ServerSettings
from extras.keys.store import Keys
from online.clients.base import Deadline, until
from online.clients.redis import TimelyConnection, TimelySocketConnection
from online.web.asgi import HEALTH_PATHS
from online.web.errors import error_response
from online.web.guard import current_record, missing_scope
from online.web.openapi import DESCRIPTION_PATH, PAGE_PATH
from online.web.parts import Parts

log = logging.getLogger(__name__)

GORSE_HEADER: Final = "X-API-Key"  # what Gorse's clients send a key in
RATE_PREFIX: Final = "recsys:rate"  # of the counts in Redis
# The first two are for supervision; neither the API's description nor the page is a secret.
_PUBLIC: Final = frozenset({"/healthz", "/readyz", "/", DESCRIPTION_PATH, PAGE_PATH})
_PUBLIC_FILES: Final = "/page/"  # of extras/page
_TIMEOUT_S: Final = 0.1  # of a count in Redis; beyond it each worker counts by itself, and retries now and then


def register(app: Flask, parts: Parts) -> None:
    """Note each request's key, count the request, then refuse it where it needs a key: wrong keys are counted, too."""
    settings = parts.settings.server
    keys = Keys(parts.settings.keys_file)
    warn_if_open(settings, keys)

    @app.before_request
    def note() -> None:
        given = request.authorization
        bearer = given.token if given and given.type == "bearer" else None
        key = bearer or request.headers.get(GORSE_HEADER)
        if key and (owner := keys.owner(key)) is not None:
            record = current_record()
            record.facts["key"], record.scopes = owner.name, owner.scopes

    limit_rate(app, settings, parts.settings.redis)

    # Reads need a key where the settings say so; events, once a key exists. `online.web.guard` guards what always
    # needs one.
    reads_need_key = settings.reads_need_key

    @app.before_request
    def check() -> None:
        record = current_record()
        if record.scope == "read" and not reads_need_key:
            return
        if is_public(request.path) or record.may(record.scope):
            return
        if reads_need_key or keys.there_were_any():
            raise missing_scope(record.scope)


def is_public(path: str) -> bool:
    """Whether a path is answered without a key, and without counting, whatever the settings."""
    return path in _PUBLIC or path.startswith(_PUBLIC_FILES)


def warn_if_open(settings: ServerSettings, keys: Keys) -> None:
    """Warn where other machines can reach the server and anybody may read, or nobody has a key."""
    if not settings.is_open:
        return
    if not settings.reads_need_key:
        log.warning(
            "other machines can reach the server, and RECSYS_SERVER__KEYS_FOR=writes shows everybody's history without "
            "a key"
        )
    if not keys.there_were_any():
        log.warning(
            "other machines can reach the server, and no key exists: make api-key name=<name> creates one"
        )


# --------------------------------------------------------------------------------------------------------------- rates


class _Brief:
    """Waits for a whole answer no longer than `_TIMEOUT_S`, however slowly it comes."""

    def read_response(self, *arguments: Any, **more: Any) -> Any:
        with until(Deadline.after(_TIMEOUT_S)):
            return super().read_response(*arguments, **more)  # type: ignore[misc]


class _Connection(_Brief, TimelyConnection):
    """Over TCP."""


class _SocketConnection(_Brief, TimelySocketConnection):
    """Over a Unix socket."""


def limit_rate(app: Flask, server: ServerSettings, redis: RedisSettings) -> None:
    """Answer 429 to clients above ``server.rate``; health and metrics are never counted.

    Counted in Redis, so that all workers count together; where Redis does not answer, each worker counts by itself. One
    that starts while no server of a cluster answers does so until it is restarted.
    """

    @app.errorhandler(RateLimitExceeded)
    def too_many(error: RateLimitExceeded) -> Response:
        message = (
            f"Rate limit exceeded: {error.description}; see the header Retry-After."
        )
        return error_response(429, "too_many_requests", message)

    if not server.rate:
        return

    def client() -> str:
        key = current_record().facts.get("key")
        return f"key:{key}" if key else f"address:{request.remote_addr or 'unknown'}"

    def counting_in(storage: str, **options: Any) -> Limiter:
        return Limiter(
            client,
            app=app,
            application_limits=[server.rate],
            strategy="sliding-window-counter",
            storage_uri=storage,
            storage_options=options,
            key_prefix=RATE_PREFIX,
            in_memory_fallback=[server.rate],
            headers_enabled=True,
        )

    # The password is not in the address, which might be logged. Counting is not worth waiting for.
    places = ",".join(f"{host}:{port}" for host, port in redis.addresses)
    storage = f"redis+cluster://{places}" if redis.cluster else f"redis://{places}/0"
    if redis.socket:
        storage = f"redis+unix://{quote(str(redis.socket))}"
    options: dict[str, Any] = {
        "connection_class": _SocketConnection if redis.socket else _Connection,
        "socket_timeout": _TIMEOUT_S,
        "socket_connect_timeout": _TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    if (password := redis.secret) is not None:
        options["password"] = password
    if redis.cluster:  # which takes a connection class with a URL only
        host, port = redis.addresses[0]
        options["url"] = f"redis://{host}:{port}"
    try:
        limiter = counting_in(storage, **options)
    except (
        RedisClusterException
    ) as error:  # a cluster is connected at once, a single server with a request
        log.warning(
            "this worker counts requests by itself until it is restarted: %s", error
        )
        limiter = counting_in("memory://")
    limiter.request_filter(
        lambda: is_public(request.path) or request.path in HEALTH_PATHS
    )
