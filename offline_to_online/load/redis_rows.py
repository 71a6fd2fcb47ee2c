"""Recall state in Redis, under the release's keys: one hash a user, the popular list, the channels.

A mark is written once everything was read back, so a load that broke off or failed its check is told
apart from a whole one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import redis
from tqdm import tqdm

from data_exchange_center import wire
from data_exchange_center.history import History
from offline_to_online.load.services import CheckError
from offline_to_online.load.user_rows import RecallState, UserRow

CHUNK: Final = 1_000  # users a round trip
_LAYOUTS: Final[Mapping[str, Callable[[bytes], object]]] = {
    wire.USER_TERM: wire.unpack_ids,
    wire.USER_FILTER: wire.unpack_ids,
    wire.USER_PROFILE: wire.unpack_ids,
    wire.USER_HISTORY: History.unpack,
}  # every other field is a vector
_RELEASE_OF_KEY: Final = re.compile(rb"^ml:([0-9a-f]{12}):")


def write_state(client: redis.Redis, release: str, state: RecallState) -> None:
    """Load everything; the mark of an earlier load goes first.

    A user's hash is replaced in one transaction, so a reader sees the old or the new one, never a half. Loading the
    same release again is therefore safe even while it is served.
    """
    client.delete(wire.users_key(release))
    for chunk in _chunks(state.users, "users to Redis"):
        with client.pipeline(transaction=True) as pipe:
            for row in chunk:
                key = wire.user_key(release, row.userid)
                pipe.delete(key)
                pipe.hset(key, mapping=dict(row.fields()))
            pipe.execute()
    client.set(wire.popular_key(release), json.dumps([list(entry) for entry in state.popular]))
    client.set(wire.channels_key(release), state.channels)


def check_state(client: redis.Redis, release: str, state: RecallState) -> None:
    """Read everything back, compare it with its source and mark the release checked.

    Raises CheckError naming the user and the field.
    """
    for chunk in _chunks(state.users, "users from Redis"):
        with client.pipeline(transaction=False) as pipe:
            for row in chunk:
                pipe.hgetall(wire.user_key(release, row.userid))
            for row, stored in zip(chunk, pipe.execute(), strict=True):
                check_user(row, stored)
    raw = read(client, wire.popular_key(release))
    if raw is None or [tuple(entry) for entry in json.loads(raw)] != list(state.popular):
        raise CheckError(f"the popular list of release {release} in Redis is not the one in popular.parquet")
    if read(client, wire.channels_key(release)) != state.channels:
        raise CheckError(f"the channels of release {release} in Redis are not the ones in channels.npz")
    client.set(wire.users_key(release), len(state.users))


def is_checked(client: redis.Redis, release: str) -> bool:
    """Whether the release was loaded and read back to the end."""
    return bool(client.exists(wire.users_key(release)))


def read(client: redis.Redis, key: str) -> bytes | None:
    """A string's bytes; None when there is no such key."""
    raw: Any = client.get(key)  # typed for the asynchronous client too
    return bytes(raw) if raw is not None else None


def check_user(row: UserRow, stored: Mapping[bytes, bytes]) -> None:
    """Compare one user's hash with its source. Raises CheckError naming the user, the field and both values."""
    fields = {name.decode(): raw for name, raw in stored.items()}
    for field, wanted in row.fields().items():
        got = fields.pop(field, None)
        if got != wanted:
            raise CheckError(
                f"user {row.userid}, field {field!r}: Redis gave {_shown(field, got)}, "
                f"the source says {_shown(field, wanted)}"
            )
    if fields:
        raise CheckError(f"user {row.userid}: Redis holds fields nobody wrote: {sorted(fields)}")


def _shown(field: str, raw: bytes | None) -> object:
    """A field as a person reads it; bytes of another length than its layout's as they are."""
    if raw is None:
        return None
    unpack = _LAYOUTS.get(field, wire.unpack_vector)
    try:
        return unpack(raw)
    except ValueError:
        return raw


def releases_in(client: redis.Redis) -> set[str]:
    """Ids of the releases that have any key, whole or not."""
    found = (_RELEASE_OF_KEY.match(key) for key in client.scan_iter("ml:*", count=5_000))
    return {match.group(1).decode() for match in found if match}


def delete_release(client: redis.Redis, release: str) -> None:
    """Delete a release's keys: the marker first, so that what is left never looks whole."""
    client.delete(wire.users_key(release), wire.manifest_key(release))
    batch: list[bytes] = []
    for key in client.scan_iter(f"ml:{release}:*", count=5_000):
        batch.append(key)
        if len(batch) == CHUNK:
            client.unlink(*batch)
            batch.clear()
    if batch:
        client.unlink(*batch)


def _chunks(rows: Sequence[UserRow], what: str) -> Iterator[Sequence[UserRow]]:
    with tqdm(total=len(rows), desc=what, unit="user", leave=False) as progress:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            yield chunk
            progress.update(len(chunk))
