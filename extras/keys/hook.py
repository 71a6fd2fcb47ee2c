"""API keys, and rate limits by a client's key or, where it has none, by its address.

Keys are issued one by one, kept as hashes, and read again as soon as their file changes. A key is 32 random bytes: its
SHA-256 reveals nothing, and a slow hash as for passwords is not needed.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, request
from flask_limiter import Limiter, RateLimitExceeded
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from data_exchange_center.errors import RecsysError
from data_exchange_center.files import written_in_place
from data_exchange_center.settings import RedisSettings, ServerSettings
from online.clients.base import Deadline, until
from online.clients.redis import TimelyConnection
from online.web.asgi import WATCHES
from online.web.guard import current_record, error_response, is_loopback, needs_a_key, writes
from online.web.openapi import DESCRIPTION_PATH, PAGE_PATH
from online.web.parts import Parts

log = logging.getLogger(__name__)

KEY_PREFIX: Final = "recsys_"  # by which a key that was committed somewhere can be found
NAME: Final = re.compile(r"[\w.@-]{1,64}", re.ASCII)
GORSE_HEADER: Final = "X-API-Key"  # what Gorse's clients send a key in
RATE_PREFIX: Final = "recsys:rate"  # of the counts in Redis
_LINE: Final = re.compile(r"(\S+) ([0-9a-f]{64})")
# The first two are for supervision; neither the API's description nor the page is a secret.
_OPEN: Final = frozenset({"/healthz", "/readyz", "/", DESCRIPTION_PATH, PAGE_PATH})
_OPEN_FILES: Final = "/page/"  # of extras/page
_TIMEOUT_S: Final = 0.1  # of a count in Redis; beyond it each worker counts by itself, and retries now and then


def register(app: Flask, parts: Parts) -> None:
    """Note each request's key, count the request, then refuse it where it needs a key: wrong keys are counted, too."""
    settings = parts.settings.server
    warn_if_open(settings)
    keys = Keys(parts.settings.keys_file)

    @app.before_request
    def note() -> None:
        given = request.authorization
        bearer = given.token if given and given.type == "bearer" else None
        key = bearer or request.headers.get(GORSE_HEADER)
        if key and (owner := keys.owner(key)) is not None:
            current_record().facts["key"] = owner

    limit_rate(app, settings, parts.settings.redis)

    # All requests need a key, or only writes, once a key exists. `online.web.guard` guards what always needs one.
    @app.before_request
    def check() -> None:
        if "key" in current_record().facts or is_open(request.path):
            return
        if settings.keys_for == "all" or (writes() and keys.there_were_any()):
            raise needs_a_key()


def is_open(path: str) -> bool:
    """Whether a path is answered without a key, and without counting, whatever the settings."""
    return path in _OPEN or path.startswith(_OPEN_FILES)


def warn_if_open(settings: ServerSettings) -> None:
    """Warn where other machines can reach the server, and no key is required."""
    if settings.keys_for != "all" and not is_loopback(settings.host):
        log.warning(
            "the server listens on %s and answers anyone who reaches it; RECSYS_SERVER__KEYS_FOR=all requires a key",
            settings.host,
        )


# ----------------------------------------------------------------------------------------------------- the file of keys


class KeyProblemError(RecsysError):
    """A key cannot be created or revoked."""


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def read(path: Path) -> dict[str, str]:
    """Name -> hash. No file means no keys. Raises OSError."""
    if not path.exists():
        return {}
    keys = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if (match := _LINE.fullmatch(line.strip())) is not None:
            keys[match[1]] = match[2]
        elif line.strip() and not line.startswith("#"):
            log.warning("%s, line %d is no name and hash: left out", path, number)
    return keys


def _write(path: Path, keys: Mapping[str, str]) -> None:
    """Write the file, readable by everybody: a container's server runs as nobody, and hashes reveal nothing.

    A new folder is readable, too; an existing one keeps its mode.
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
    with written_in_place(path) as temporary:
        temporary.write_text("".join(f"{name} {digest}\n" for name, digest in keys.items()), encoding="utf-8")


def add(path: Path, name: str) -> str:
    """Create a key, of which only the hash is kept. Raises KeyProblemError for a name that is taken or unfit."""
    keys = read(path)
    if not NAME.fullmatch(name):
        raise KeyProblemError(f"{name!r} is no name for a key", "Use 1 to 64 letters, digits and _ . @ -")
    if name in keys:
        raise KeyProblemError(
            f"There is a key called {name} in {path}", "Choose another name, or take that one back first."
        )
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    _write(path, {**keys, name: hashed(key)})
    return key


def revoke(path: Path, name: str) -> None:
    """Revoke a key. Raises KeyProblemError if there is none."""
    keys = read(path)
    if name not in keys:
        raise KeyProblemError(f"No key is called {name} in {path}", f"There are: {', '.join(keys) or 'none'}.")
    _write(path, {other: digest for other, digest in keys.items() if other != name})


# -------------------------------------------------------------------------------------------------- keys in requests


class Keys:
    """The keys of a file, read again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._keys: dict[str, str] = {}

    def owner(self, key: str) -> str | None:
        """Name of a key's owner, or None. Compares in constant time."""
        digest = hashed(key)
        found = [name for name, theirs in self._current().items() if hmac.compare_digest(digest, theirs)]
        return found[-1] if found else None

    def there_were_any(self) -> bool:
        """Whether a key was ever created; it may have been revoked since."""
        try:
            return self._path.exists()
        except OSError:
            return True  # unknown: as if there were

    def _current(self) -> dict[str, str]:
        try:
            status = self._path.stat()
            now: tuple[int, ...] = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            now = ()
        with self._lock:
            if now != self._seen:
                try:
                    self._keys = read(self._path) if now else {}
                except (OSError, UnicodeDecodeError) as error:
                    log.error("the file of keys cannot be read, so nobody's key is good: %s", type(error).__name__)
                    self._keys = {}
                self._seen = now
            return self._keys


# --------------------------------------------------------------------------------------------------------------- rates


class _Connection(TimelyConnection):
    """Waits for a whole answer no longer than `_TIMEOUT_S`, however slowly it comes."""

    def read_response(self, *arguments: Any, **more: Any) -> Any:
        with until(Deadline.after(_TIMEOUT_S)):
            return super().read_response(*arguments, **more)  # type: ignore[no-untyped-call]


def limit_rate(app: Flask, server: ServerSettings, redis: RedisSettings) -> None:
    """Answer 429 to clients above ``server.rate``; health and metrics are never counted.

    Counted in Redis, so that all workers count together; where Redis does not answer, each worker counts by itself. One
    that starts while no server of a cluster answers does so until it is restarted.
    """

    @app.errorhandler(RateLimitExceeded)
    def too_many(error: RateLimitExceeded) -> Response:
        message = f"This client asks too often: {error.description} is the limit."
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
    options: dict[str, Any] = {
        "connection_class": _Connection,
        "socket_timeout": _TIMEOUT_S,
        "socket_connect_timeout": _TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    if redis.password:
        options["password"] = redis.password.get_secret_value()
    if redis.cluster:  # which takes a connection class with a URL only
        host, port = redis.addresses[0]
        options["url"] = f"redis://{host}:{port}"
    try:
        limiter = counting_in(f"redis+cluster://{places}" if redis.cluster else f"redis://{places}/0", **options)
    except RedisClusterException as error:  # a cluster is connected at once, a single server with a request
        log.warning("this worker counts requests by itself until it is restarted: %s", error)
        limiter = counting_in("memory://")
    limiter.request_filter(lambda: is_open(request.path) or request.path in WATCHES)
