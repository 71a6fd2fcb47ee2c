"""API keys: issued one by one, kept as hashes, and read again as soon as their file changes.

A key is 32 random bytes, so its SHA-256 tells nobody anything, and a slow hash as for passwords is not needed.
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
from typing import Final

from flask import Flask, request

from data_exchange_center.errors import RecsysError
from data_exchange_center.files import written_in_place
from data_exchange_center.settings import ServerSettings
from online.web import records
from online.web.guard import is_loopback, needs_a_key, writes
from online.web.openapi import DESCRIPTION_PATH, PAGE_PATH

log = logging.getLogger(__name__)

PREFIX: Final = "recsys_"  # by which a key that was committed somewhere can be found
NAME: Final = re.compile(r"[\w.@-]{1,64}", re.ASCII)
# The first two are for supervision; neither the API's description nor the page is a secret.
_OPEN: Final = frozenset({"/healthz", "/readyz", "/", DESCRIPTION_PATH, PAGE_PATH})
_OPEN_FILES: Final = "/page/"  # of extras/page
_LINE: Final = re.compile(r"(\S+) ([0-9a-f]{64})")

GORSE_HEADER: Final = "X-API-Key"  # what Gorse's clients send a key in


class KeyProblemError(RecsysError):
    """A key cannot be made or taken back."""


def is_open(path: str) -> bool:
    """Whether it is answered without a key, and without counting, whatever the settings."""
    return path in _OPEN or path.startswith(_OPEN_FILES)


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
    """To be read by everybody: a container's server runs as nobody, and hashes tell nothing.

    A folder that is made for it, too; one that is there stays as it is.
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
    with written_in_place(path) as temporary:
        temporary.write_text("".join(f"{name} {digest}\n" for name, digest in keys.items()), encoding="utf-8")


def add(path: Path, name: str) -> str:
    """A new key, which is kept nowhere. Raises KeyProblemError for a name that is taken or unfit."""
    keys = read(path)
    if not NAME.fullmatch(name):
        raise KeyProblemError(f"{name!r} is no name for a key", "Use 1 to 64 letters, digits and _ . @ -")
    if name in keys:
        raise KeyProblemError(
            f"There is a key called {name} in {path}", "Choose another name, or take that one back first."
        )
    key = PREFIX + secrets.token_urlsafe(32)
    _write(path, {**keys, name: hashed(key)})
    return key


def revoke(path: Path, name: str) -> None:
    """Raises KeyProblemError where there is none."""
    keys = read(path)
    if name not in keys:
        raise KeyProblemError(f"No key is called {name} in {path}", f"There are: {', '.join(keys) or 'none'}.")
    _write(path, {other: digest for other, digest in keys.items() if other != name})


class Keys:
    """The keys of a file, read again when the file is another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._keys: dict[str, str] = {}

    def owner(self, key: str) -> str | None:
        """Whose key it is; None: nobody's. Takes as long for any key."""
        digest = hashed(key)
        found = None
        for name, theirs in self._current().items():
            if hmac.compare_digest(digest, theirs):
                found = name
        return found

    def there_were_any(self) -> bool:
        """Whether a key was ever handed out: it may have been taken back since."""
        try:
            self._path.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True  # nobody knows
        return True

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


def note_keys(app: Flask, keys: Keys) -> None:
    """Note the owner of a good key in each request's record."""

    @app.before_request
    def note() -> None:
        given = request.authorization
        bearer = given.token if given and given.type == "bearer" else None
        key = bearer or request.headers.get(GORSE_HEADER)
        if key and (owner := keys.owner(key)) is not None:
            records.current().facts["key"] = owner


def require_keys(app: Flask, settings: ServerSettings, keys: Keys) -> None:
    """Refuse requests without a good key where one is wanted: all, or writes once a key was handed out.

    Writes that always need one are refused by the server itself (`online.web.guard`).
    """

    @app.before_request
    def check() -> None:
        if "key" in records.current().facts:
            return
        if not is_open(request.path) and (settings.keys_for == "all" or (writes() and keys.there_were_any())):
            raise needs_a_key()


def warn_if_open(settings: ServerSettings) -> None:
    """Warn where other machines can reach the server, and no key is required."""
    if settings.keys_for != "all" and not is_loopback(settings.host):
        log.warning(
            "the server listens on %s and answers anyone who reaches it; RECSYS_SERVER__KEYS_FOR=all requires a key",
            settings.host,
        )
