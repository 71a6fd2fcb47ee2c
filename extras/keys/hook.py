"""API keys, and rate limits by a client's key or, where it has none, by its address.

Keys are issued one by one, kept as hashes, and read again as soon as their file changes. A key is 32 random bytes: its
SHA-256 reveals nothing, and a slow hash as for passwords is not needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from online.web.errors import error_response
from online.web.guard import SCOPES, current_record, missing_scope
from online.web.openapi import DESCRIPTION_PATH, PAGE_PATH
from online.web.parts import Parts

log = logging.getLogger(__name__)

KEY_PREFIX: Final = "recsys_"  # by which a key that was committed somewhere can be found
NAME: Final = re.compile(r"[\w.@-]{1,64}", re.ASCII)
GORSE_HEADER: Final = "X-API-Key"  # what Gorse's clients send a key in
RATE_PREFIX: Final = "recsys:rate"  # of the counts in Redis
_LINE: Final = re.compile(r"(\S+) ([0-9a-f]{64})(?: ([a-z,]+))?")
ADMIN: Final = frozenset({"admin"})
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
        if is_public(request.path) or record.may(record.scope):
            return
        if reads_need_key or (record.scope != "read" and keys.there_were_any()):
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
        log.warning("other machines can reach the server, and no key exists: make api-key name=<name> creates one")


# ----------------------------------------------------------------------------------------------------- the file of keys


class KeyProblemError(RecsysError):
    """A key cannot be created or revoked."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key in the file: its name, the hash of the key, and what it may be used for."""

    name: str
    digest: str
    scopes: frozenset[str] = ADMIN

    @property
    def line(self) -> str:
        return f"{self.name} {self.digest} {','.join(sorted(self.scopes))}\n"


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def read(path: Path) -> dict[str, Key]:
    """Name -> key. No file means no keys; a key without scopes, as of earlier files, has all. Raises OSError."""
    if not path.exists():
        return {}
    keys = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _LINE.fullmatch(line.strip())
        scopes = frozenset(match[3].split(",")) if match and match[3] else ADMIN
        if match is not None and scopes <= SCOPES.keys():
            keys[match[1]] = Key(match[1], match[2], scopes)
        elif line.strip() and not line.startswith("#"):
            log.warning("%s, line %d is ignored: expected a name, a hash and scopes", path, number)
    return keys


@contextmanager
def _changed(path: Path) -> Iterator[dict[str, Key]]:
    """Yield the keys, and write them back; one process at a time, or a key that was just revoked could come back.

    The file is readable by everybody: a container's server runs as another user, and hashes reveal nothing. A new
    folder is readable, too; an existing one keeps its mode.
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # until it is closed
        keys = read(path)
        yield keys
        with written_in_place(path, mode=0o644) as temporary:
            temporary.write_text("".join(key.line for key in keys.values()), encoding="utf-8")
    finally:
        os.close(folder)


def add(path: Path, name: str, scopes: Collection[str] = ADMIN) -> str:
    """Create a key, of which only the hash is kept. Raises KeyProblemError for a name that is taken or invalid."""
    if not NAME.fullmatch(name):
        raise KeyProblemError(f"{name!r} is not a valid name of a key", "Use 1 to 64 letters, digits and _ . @ -")
    if not scopes or not SCOPES.keys() >= set(scopes):
        raise KeyProblemError(
            f"{','.join(scopes)!r} are not valid scopes", f"Use one or more of {', '.join(SCOPES)}, joined by commas."
        )
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    with _changed(path) as keys:
        if name in keys:
            raise KeyProblemError(
                f"A key named {name} exists in {path}", f"Choose another name, or first: make api-key revoke={name}"
            )
        keys[name] = Key(name, hashed(key), frozenset(scopes))
    return key


def revoke(path: Path, name: str) -> int:
    """Revoke a key; how many are left. Raises KeyProblemError if there is none."""
    if name not in (keys := read(path)):
        raise KeyProblemError(f"No key in {path} is named {name}", f"There are: {', '.join(keys) or 'none'}.")
    with _changed(path) as keys:
        keys.pop(name, None)
        return len(keys)


# -------------------------------------------------------------------------------------------------- keys in requests


class Keys:
    """The keys of a file, read again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._keys: dict[str, Key] = {}

    def owner(self, key: str) -> Key | None:
        """The entry of a key, or None. Compares in constant time."""
        digest = hashed(key)
        found = [each for each in self._current().values() if hmac.compare_digest(digest, each.digest)]
        return found[-1] if found else None

    def there_were_any(self) -> bool:
        """Whether a key was ever created; it may have been revoked since."""
        try:
            return self._path.exists()
        except OSError:
            return True  # unknown: as if there were

    def _current(self) -> dict[str, Key]:
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
                    log.error("the file of keys cannot be read, so no key is valid: %s", type(error).__name__)
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
        message = f"Rate limit exceeded: {error.description}; see the header Retry-After."
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
    if (password := redis.secret) is not None:
        options["password"] = password
    if redis.cluster:  # which takes a connection class with a URL only
        host, port = redis.addresses[0]
        options["url"] = f"redis://{host}:{port}"
    try:
        limiter = counting_in(f"redis+cluster://{places}" if redis.cluster else f"redis://{places}/0", **options)
    except RedisClusterException as error:  # a cluster is connected at once, a single server with a request
        log.warning("this worker counts requests by itself until it is restarted: %s", error)
        limiter = counting_in("memory://")
    limiter.request_filter(lambda: is_public(request.path) or request.path in WATCHES)
