"""The file of keys: each by its name, the hash of the key and its scopes. It is read again when it has changed."""

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
from typing import Final

from data_exchange_center.errors import RecsysError
from data_exchange_center.files import written_in_place
from online.web.guard import SCOPES

log = logging.getLogger(__name__)

# by which a key that was committed somewhere can be found
KEY_PREFIX: Final = "recsys_"
NAME: Final = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_LINE: Final = re.compile(r"(\S+) ([0-9a-f]{64})(?: ([a-z,]+))?")
ADMIN: Final = frozenset({"admin"})


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
    for number, line in enumerate(
        path.read_text(encoding="utf-8").splitlines(), start=1
    ):
        match = _LINE.fullmatch(line.strip())
        scopes = frozenset(match[3].split(",")) if match and match[3] else ADMIN
        if match is not None and scopes <= SCOPES.keys():
            keys[match[1]] = Key(match[1], match[2], scopes)
        elif line.strip() and not line.startswith("#"):
            log.warning(
                "%s, line %d is ignored: expected a name, a hash and scopes",
                path,
                number,
            )
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
            temporary.write_text(
                "".join(key.line for key in keys.values()), encoding="utf-8"
            )
    finally:
        os.close(folder)


def add(path: Path, name: str, scopes: Collection[str] = ADMIN) -> str:
    """Create a key, of which only the hash is kept. Raises KeyProblemError for a name that is taken or invalid."""
    if not NAME.fullmatch(name):
        raise KeyProblemError(
            f"{name!r} is not a valid name of a key",
            "Use 1 to 64 letters, digits and _ . @ -",
        )
    if not scopes or not SCOPES.keys() >= set(scopes):
        raise KeyProblemError(
            f"{','.join(scopes)!r} are not valid scopes",
            f"Use one or more of {', '.join(SCOPES)}, joined by commas.",
        )
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    with _changed(path) as keys:
        if name in keys:
            raise KeyProblemError(
                f"A key named {name} exists in {path}",
                f"Choose another name, or first: make api-key revoke={name}",
            )
        keys[name] = Key(name, hashed(key), frozenset(scopes))
    return key


def revoke(path: Path, name: str) -> int:
    """Revoke a key; how many are left. Raises KeyProblemError if there is none."""
    with _changed(path) as keys:
        if keys.pop(name, None) is None:
            raise KeyProblemError(
                f"No key in {path} is named {name}",
                f"There are: {', '.join(keys) or 'none'}.",
            )
        return len(keys)


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
        found = [
            each
            for each in self._current().values()
            if hmac.compare_digest(digest, each.digest)
        ]
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
                    log.error(
                        "the file of keys cannot be read, so no key is valid: %s",
                        type(error).__name__,
                    )
                    self._keys = {}
                self._seen = now
            return self._keys
