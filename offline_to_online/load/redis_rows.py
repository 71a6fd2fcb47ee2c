"""Users' recall state in Redis: one hash a user under the release's keys.

A mark is written once everything was read back, so a load that broke off or failed its check is told
apart from a whole one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis
from numpy.typing import NDArray
from tqdm import tqdm

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns
from offline_to_online.load.services import CheckError

CHUNK: Final = 1_000  # users a round trip
_RELEASE_OF_KEY: Final = re.compile(rb"^ml:([0-9a-f]{12}):")


@dataclass(frozen=True)
class UserRow:
    """What recall needs of one user."""

    userid: int
    genres: NDArray[np.int32]  # preferred genre codes, most clicked first; may be empty
    vector: NDArray[np.float32] | None  # None: no training rows, nothing to recall by but genres
    seen: NDArray[np.int32]  # itemids never recommended again

    def fields(self) -> dict[str, bytes]:
        """The hash's fields. A user without a vector has no such field."""
        packed = {wire.USER_TERM: wire.pack_ids(self.genres), wire.USER_FILTER: wire.pack_ids(self.seen)}
        if self.vector is not None:
            packed[wire.USER_VECTOR] = wire.pack_vector(self.vector)
        return packed


def user_rows(exchange_dir: Path) -> list[UserRow]:
    """Every user of the artifacts, by id. Raises ArtifactError when one is missing or holds another number of users."""
    preferences = artifacts.USER_PREFERENCES.read(exchange_dir).set_index(Columns.USER)[Columns.GENRES]
    seen = artifacts.USER_SEEN.read(exchange_dir).set_index(Columns.USER)[Columns.SEEN]
    vectors = artifacts.USER_VECTORS.read(exchange_dir).set_index(Columns.USER)[Columns.VECTOR]
    userids: list[int] = sorted({*preferences.index.tolist(), *seen.index.tolist(), *vectors.index.tolist()})
    nothing = np.empty(0, dtype=np.int32)
    genres_of, seen_of, vector_of = preferences.to_dict(), seen.to_dict(), vectors.to_dict()
    return [
        UserRow(
            userid=userid,
            genres=np.asarray(genres_of.get(userid, nothing), dtype=np.int32),
            vector=np.asarray(vector_of[userid], dtype=np.float32) if userid in vector_of else None,
            seen=np.asarray(seen_of.get(userid, nothing), dtype=np.int32),
        )
        for userid in userids
    ]


def popular_rows(exchange_dir: Path) -> list[tuple[int, float]]:
    """(itemid, score), best first."""
    frame = artifacts.POPULAR.read(exchange_dir)
    return [(int(item), float(score)) for item, score in zip(frame[Columns.ITEM], frame[Columns.SCORE], strict=True)]


def write_users(
    client: redis.Redis, release: str, rows: Sequence[UserRow], popular: Sequence[tuple[int, float]]
) -> None:
    """Load every user and the popular list; the mark of an earlier load goes first.

    A user's hash is replaced in one transaction, so a reader sees the old or the new one, never a half. Loading the
    same release again is therefore safe even while it is served.
    """
    client.delete(wire.users_key(release))
    for chunk in _chunks(rows, "users to Redis"):
        with client.pipeline(transaction=True) as pipe:
            for row in chunk:
                key = wire.user_key(release, row.userid)
                pipe.delete(key)
                pipe.hset(key, mapping=dict(row.fields()))
            pipe.execute()
    client.set(wire.popular_key(release), json.dumps([list(entry) for entry in popular]))


def check_users(
    client: redis.Redis, release: str, rows: Sequence[UserRow], popular: Sequence[tuple[int, float]]
) -> None:
    """Read everything back, compare it with its source and mark the release checked.

    Raises CheckError naming the user and the field.
    """
    for chunk in _chunks(rows, "users from Redis"):
        with client.pipeline(transaction=False) as pipe:
            for row in chunk:
                pipe.hgetall(wire.user_key(release, row.userid))
            for row, stored in zip(chunk, pipe.execute(), strict=True):
                check_user(row, stored)
    raw = read(client, wire.popular_key(release))
    if raw is None or [tuple(entry) for entry in json.loads(raw)] != list(popular):
        raise CheckError(f"the popular list of release {release} in Redis is not the one in popular.parquet")
    client.set(wire.users_key(release), len(rows))


def is_checked(client: redis.Redis, release: str) -> bool:
    """Whether the release was loaded and read back to the end."""
    return bool(client.exists(wire.users_key(release)))


def read(client: redis.Redis, key: str) -> bytes | None:
    """A string's bytes; None when there is no such key."""
    raw: Any = client.get(key)  # typed for the asynchronous client too
    return bytes(raw) if raw is not None else None


def check_user(row: UserRow, stored: dict[bytes, bytes]) -> None:
    """Compare one user's hash with its source. Raises CheckError naming the user, the field and both values."""
    fields = {name.decode(): raw for name, raw in stored.items()}
    for field, wanted in (
        (wire.USER_TERM, row.genres),
        (wire.USER_FILTER, row.seen),
        (wire.USER_VECTOR, row.vector),
    ):
        raw = fields.pop(field, None)
        unpack = wire.unpack_vector if field == wire.USER_VECTOR else wire.unpack_ids
        got = None if raw is None else unpack(raw)
        same = got is None if wanted is None else got is not None and np.array_equal(got, wanted)
        if not same:
            raise CheckError(f"user {row.userid}, field {field!r}: Redis gave {got}, the source says {wanted}")
    if fields:
        raise CheckError(f"user {row.userid}: Redis holds fields nobody wrote: {sorted(fields)}")


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
