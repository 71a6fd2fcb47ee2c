"""Recall state in Redis, under the release's keys: one hash a user, the popular list, the channels, the map.

The key `wire.users_key` is the mark: it is written once everything was read back, so an interrupted load, or one that
failed its check, is distinguished from a whole one. The pointer `wire.LIVE_KEY` lies here too: moving it is going live.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import redis
from pydantic import ValidationError

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.history import History
from data_exchange_center.release import Manifest, Published, why_unreadable
from data_exchange_center.steps import CheckError, StepError, progress
from data_exchange_center.wire import RedisLayout, replacement
from offline_to_online.rows import RecallState, UserRow
from offline_to_online.stores.base import ReleaseStore, redis_address, redis_client
from online.clients.redis import Connected, move_live, set_copies

CHUNK: Final = 1_000  # users a round trip
_LAYOUTS: Final[Mapping[str, Callable[[bytes], object]]] = {
    wire.USER_NUMBER: wire.unpack_ids,
    wire.USER_TERM: wire.unpack_ids,
    wire.USER_FILTER: wire.unpack_ids,
    wire.USER_PROFILE: wire.unpack_ids,
    wire.USER_HISTORY: History.unpack,
}  # every other field is a vector
_RELEASE_OF_KEY: Final = re.compile(rb"^ml:([0-9a-f]{12}):")


class RedisStore(ReleaseStore[RecallState, None]):
    """User state for recall, and which release is live."""

    title: ClassVar[str] = "Redis"
    step: ClassVar[str] = "offline_to_online/recall/s1_user_to_redis.py"

    @property
    def address(self) -> str:
        return redis_address(self.settings)

    @property
    def layout(self) -> RedisLayout:
        return RedisLayout(self.settings.redis.cluster)

    def _load(self, manifest: Manifest, content: RecallState) -> None:
        """A user's hash is replaced in one transaction, so a reader sees the old or the new one, never a half.

        So are the lists of the users, which are made under temporary keys.
        """
        release = manifest.release
        lists = wire.ids_key(release), wire.event_counts_key(release)
        ids, counts = (replacement(key) for key in lists)
        with redis_client(self.settings) as client:
            client.delete(ids, counts)
            for chunk in _chunks(content.users, "users to Redis"):
                for rows in self._of_a_slot(chunk):
                    self._replace(client, release, rows)
                with client.pipeline(transaction=False) as pipe:
                    pipe.zadd(ids, {str(row.own_id): 0 for row in chunk})
                    pipe.zadd(counts, {str(row.own_id): len(row.history) for row in chunk})
                    pipe.execute()
            if content.users:
                self._rename(client, dict(zip((ids, counts), lists, strict=True)))
            client.set(wire.popular_key(release), json.dumps([list(entry) for entry in content.popular]))
            client.set(wire.channels_key(release), content.channels)
            client.set(wire.places_key(release), content.places.tobytes())

    def _replace(self, client: Connected, release: str, rows: Sequence[UserRow]) -> None:
        """The hashes of users of one slot."""
        keys = [self.layout.user(release, row.own_id) for row in rows]
        with client.at(keys[0]) as server, server.pipeline(transaction=True) as pipe:
            for key, row in zip(keys, rows, strict=True):
                pipe.delete(key)
                pipe.hset(key, mapping=dict(row.fields()))
            pipe.execute()

    def _rename(self, client: Connected, keys: Mapping[str, str]) -> None:
        """Rename in one step, or in a cluster one after the other. ``keys``: temporary -> final."""
        if self.layout.cluster:
            for made, key in keys.items():
                with client.at(key) as server:
                    server.rename(made, key)
            return
        with client.pipeline(transaction=True) as pipe:
            for made, key in keys.items():
                pipe.rename(made, key)
            pipe.execute()

    def _of_a_slot(self, rows: Sequence[UserRow]) -> Iterable[Sequence[UserRow]]:
        """The rows, in groups that one transaction can write."""
        if not self.layout.cluster:
            return (rows,)
        groups: dict[int, list[UserRow]] = {}
        for row in rows:
            groups.setdefault(wire.event_partition(row.own_id), []).append(row)
        return groups.values()

    def remembered(self, users: Sequence[UserRow], dataset: str) -> tuple[UserRow, ...]:
        """Users of a data set who were not forgotten. Raises as `remembered_ids`."""
        kept = self.remembered_ids([row.own_id for row in users], dataset)
        return tuple(row for row in users if row.own_id in kept)

    def remembered_ids(self, users: Sequence[OwnId], dataset: str) -> set[OwnId]:
        """The same of own ids. Raises as `reaching`."""
        kept: set[OwnId] = set()
        with self.reaching(), redis_client(self.settings) as client:
            for start in range(0, len(users), CHUNK):
                chunk = users[start : start + CHUNK]
                with client.pipeline(transaction=False) as pipe:
                    for userid in chunk:
                        pipe.hexists(wire.user_events_key(dataset, userid), wire.FORGOTTEN)
                    kept |= {userid for userid, gone in zip(chunk, pipe.execute(), strict=True) if not gone}
        return kept

    def _check(self, manifest: Manifest, content: RecallState) -> None:
        release = manifest.release
        with redis_client(self.settings) as client:
            for chunk in _chunks(content.users, "users from Redis"):
                with client.pipeline(transaction=False) as pipe:
                    for row in chunk:
                        pipe.hgetall(self.layout.user(release, row.own_id))
                    names = [str(row.own_id) for row in chunk]
                    pipe.zmscore(wire.ids_key(release), names)
                    pipe.zmscore(wire.event_counts_key(release), names)
                    *hashes, listed, counts = pipe.execute()
                    for row, stored, there, count in zip(chunk, hashes, listed, counts, strict=True):
                        check_user(row, stored)
                        if there is None or count != len(row.history):
                            raise CheckError(
                                f"user {row.own_id!r} has {len(row.history)} events; in Redis's lists of the users "
                                f"of release {release}: {'none' if there is None or count is None else int(count)}"
                            )
            for key in (wire.ids_key(release), wire.event_counts_key(release)):
                if (there := client.zcard(key)) != len(content.users):
                    raise CheckError(f"{key} in Redis lists {there} users; there are {len(content.users)}")
            raw = read(client, wire.popular_key(release))
            if raw is None or [tuple(entry) for entry in json.loads(raw)] != list(content.popular):
                raise CheckError(f"the popular list of release {release} in Redis is not the one in popular.parquet")
            if read(client, wire.channels_key(release)) != content.channels:
                raise CheckError(f"the channels of release {release} in Redis are not the ones in channels.npz")
            if read(client, wire.places_key(release)) != content.places.tobytes():
                raise CheckError(f"the map of release {release} in Redis is not the one made of item_vectors.parquet")

    def _mark(self, release: str) -> None:
        with redis_client(self.settings) as client:
            client.set(wire.users_key(release), 1)

    def _unmark(self, release: str) -> None:
        with redis_client(self.settings) as client:
            client.delete(wire.users_key(release))

    def _is_checked(self, release: str) -> bool:
        with redis_client(self.settings) as client:
            return bool(client.exists(wire.users_key(release)))

    def _releases(self) -> set[str]:
        with redis_client(self.settings) as client:
            found = (_RELEASE_OF_KEY.match(key) for key in client.scan_iter("ml:*", count=5_000))
            return {match.group(1).decode() for match in found if match}

    def activate(self, release: str) -> None:
        """Move the live pointer: the one atomic switch, which the server looks at with every request."""
        with self.reaching(), redis_client(self.settings) as client:
            move_live(client, self.layout, release)

    def delete(self, releases: Collection[str]) -> None:
        """The marks go first, so that what is left of an interrupted deletion never looks whole."""
        with self.reaching(), redis_client(self.settings) as client:
            for release in releases:
                manifest = wire.manifest_key(release)
                client.delete(wire.users_key(release), manifest, *self.layout.copies(manifest))
                batch: list[bytes] = []
                for key in client.scan_iter(f"ml:{release}:*", count=5_000):
                    batch.append(key)
                    if len(batch) == CHUNK:
                        client.unlink(*batch)
                        batch.clear()
                if batch:
                    client.unlink(*batch)

    def live(self) -> str | None:
        """Id of the release that is served; None before the first one went live."""
        with self.reaching(), redis_client(self.settings) as client:
            raw = read(client, wire.LIVE_KEY)
            return raw.decode() if raw is not None else None

    def history(self) -> list[str]:
        """The live release and the one before it, newest activation first."""
        with self.reaching(), redis_client(self.settings) as client:
            entries: Any = client.lrange(wire.HISTORY_KEY, 0, -1)  # typed for the asynchronous client too
            return [raw.decode() for raw in entries]

    def publish(self, published: Published) -> None:
        """Write what a server needs to open a release; before the pointer is moved to it."""
        with self.reaching(), redis_client(self.settings) as client:
            key = wire.manifest_key(published.manifest.release)
            client.set(key, published.model_dump_json())
            set_copies(client, self.layout, key)

    def published(self, release: str) -> Published:
        """Manifest and model version as of going live. Raises StepError when the release never did or is gone."""
        with self.reaching(), redis_client(self.settings) as client:
            raw = read(client, wire.manifest_key(release))
        if raw is None:
            raise StepError(f"release {release} was never live, or is no longer kept: `make releases` lists the others")
        try:
            return Published.model_validate_json(raw)
        except ValidationError as error:
            raise StepError(
                f"the manifest of release {release} in Redis cannot be read ({why_unreadable(error)}): sync it again"
            ) from error

    def running_experiments(self) -> dict[str, dict[str, str]]:
        """Name -> arm -> the release that its users are answered from. Raises StepError when they cannot be read."""
        with self.reaching(), redis_client(self.settings) as client:
            raw = read(client, wire.EXPERIMENTS_KEY)
        try:
            return {
                each["name"]: {arm: of["release"] for arm, of in each["arms"].items()}
                for each in json.loads(raw or "[]")
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StepError(
                f"{wire.EXPERIMENTS_KEY} in Redis holds experiments that this version cannot read: stop them with the "
                "version that started them"
            ) from error


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
                f"user {row.own_id!r}, field {field!r}: Redis gave {_shown(field, got)}, "
                f"the source says {_shown(field, wanted)}"
            )
    if fields:
        raise CheckError(f"user {row.own_id!r}: Redis holds unknown fields: {sorted(fields)}")


def _shown(field: str, raw: bytes | None) -> object:
    """A field as a person reads it; bytes of another length than its layout's as they are."""
    if raw is None:
        return None
    unpack = _LAYOUTS.get(field, wire.unpack_vector)
    try:
        return unpack(raw)
    except ValueError:
        return raw


def _chunks(rows: Sequence[UserRow], what: str) -> Iterator[Sequence[UserRow]]:
    with progress(total=len(rows), desc=what, unit="user", leave=False) as bar:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            yield chunk
            bar.update(len(chunk))
