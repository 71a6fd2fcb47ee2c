"""Recall state in Redis, under the release's keys: one hash per user, the popular list, the channels.

The key `wire.users_key` marks a checked release: it is written once everything was read back, so it is absent after an
interrupted load or a failed check. The list of published releases and the pointer to the active one are here, too.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import compress, islice
from typing import ClassVar, Final, TypeVar

from redis.exceptions import RedisClusterException, RedisError

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.manifest import Manifest, Published
from data_exchange_center.release_parts import UserRow
from data_exchange_center.steps import CheckError, StepError, progress
from data_exchange_center.wire import replacement
from offline_to_online.rows import RecallState
from offline_to_online.stores.base import ReleaseStore, patient, redis_client
from online.clients.publishing import listed
from online.clients.redis import Connected, RedisUsers
from online.recommend.loaded_release import read_published

Row = TypeVar("Row")
CHUNK: Final = 1_000  # users per round trip
_RELEASE_OF_KEY: Final = re.compile(rb"^ml:([0-9a-f]{12}):")


class RedisStore(ReleaseStore):
    """User state for recall; which releases are published, and which of them is active."""

    title: ClassVar[str] = "Redis"
    step: ClassVar[str] = "offline_to_online/recall/s1_user_to_redis.py"
    errors = RedisError, RedisClusterException

    @property
    def address(self) -> str:
        return self.settings.redis.url

    @contextmanager
    def client(self) -> Iterator[Connected]:
        with self.translate_errors(), redis_client(self.settings) as client:
            yield client

    def load(self, manifest: Manifest, content: RecallState) -> None:
        """Write each user's hash by one command, so that a reader sees the old or the new one, never a mixture.

        The sorted sets of users are built under temporary keys, which are then renamed.
        """
        release = manifest.release
        ids = wire.ids_key(release)
        counts = wire.event_counts_key(release)
        with self.client() as client:
            client.sadd(wire.LOADED_KEY, release)
            client.delete(wire.users_key(release))
            client.delete(replacement(ids), replacement(counts))
            for chunk in _chunks(content.users, "users to Redis"):
                with client.pipeline(transaction=False) as pipe:
                    for row in chunk:
                        key = client.user_key(release, row.own_id)
                        pipe.hset(key, mapping=row.fields())
                    pipe.zadd(replacement(ids), {str(row.own_id): 0 for row in chunk})
                    events = {str(row.own_id): len(row.history) for row in chunk}
                    pipe.zadd(replacement(counts), events)
                    pipe.execute()
            for key in (ids, counts):
                with client.at(key) as server:
                    if content.users:
                        server.rename(replacement(key), key)
                    else:  # those of an earlier load
                        server.delete(key)
            for key, value in _strings(release, content).items():
                client.set(key, value)

    def remembered(self, users: Sequence[OwnId], dataset: str) -> set[OwnId]:
        """Return those of a data set's ``users`` (own ids) who were not forgotten."""
        known = set(users)
        with self.client() as client:
            for chunk in _chunks(users, "who was forgotten"):
                with client.pipeline(transaction=False) as pipe:
                    for own_id in chunk:
                        key = wire.user_events_key(dataset, own_id)
                        pipe.hexists(key, wire.FORGOTTEN)
                    known.difference_update(compress(chunk, pipe.execute()))
        return known

    def check(self, manifest: Manifest, content: RecallState) -> None:
        """Read all of it back, and mark the release as checked. Raises CheckError naming the user or the key."""
        release = manifest.release
        ids = {str(row.own_id).encode(): 0 for row in content.users}
        events = {str(row.own_id).encode(): len(row.history) for row in content.users}
        lists = {wire.ids_key(release): ids, wire.event_counts_key(release): events}
        with self.client() as client:
            for chunk in _chunks(content.users, "users from Redis"):
                with client.pipeline(transaction=False) as pipe:
                    for row in chunk:
                        pipe.hgetall(client.user_key(release, row.own_id))
                    for row, stored in zip(chunk, pipe.execute(), strict=True):
                        check_user(row, stored)
            for key, wanted in lists.items():
                if dict(client.zscan_iter(key, count=CHUNK)) != wanted:
                    raise CheckError(
                        f"{key} in Redis does not list the {len(wanted)} users as the source does"
                    )
            for key, value in _strings(release, content).items():
                if client.get(key) != value:
                    raise CheckError(f"{key} in Redis is not what the artifacts say")
            client.set(wire.users_key(release), 1)

    def is_checked(self, release: str) -> bool:
        with self.client() as client:
            return bool(client.exists(wire.users_key(release)))

    def releases(self) -> set[str]:
        with self.client() as client:
            found = (
                _RELEASE_OF_KEY.match(key)
                for key in client.scan_iter("ml:*", count=5_000)
            )
            return {match.group(1).decode() for match in found if match}

    def activate(self, release: str) -> None:
        """Move the live pointer: the one atomic switch, which servers read twice a second."""
        with self.client() as client:
            if not client.activate_release(release):
                raise StepError(
                    f"release {release} was deleted while it was activated: sync it again"
                )

    def delete(self, releases: Collection[str]) -> None:
        """Delete all keys, marks first: an interrupted deletion then never looks like a complete release."""
        with self.client() as client:
            for release in releases:
                client.delete(wire.users_key(release), wire.manifest_key(release))
                keys = iter(client.scan_iter(f"ml:{release}:*", count=5_000))
                while some := list(islice(keys, CHUNK)):
                    client.unlink(*some)
                client.srem(wire.LOADED_KEY, release)
                # one that was published while it was retired
                client.lrem(wire.PUBLISHED_KEY, 0, release)

    def publish(self, published: Published) -> None:
        """Write the manifest by which a server loads a release, and list the release as published."""
        with self.client() as client:
            client.publish_release(
                published.manifest.release, published.model_dump_json()
            )

    def retire(self, releases: Collection[str]) -> set[str]:
        """Unpublish the releases beyond the setting. Returns those, and those of ``releases``, that are not kept."""
        with self.client() as client:
            return client.retire_releases(releases, self.settings.kept_releases)

    def listed(self) -> tuple[str | None, list[str]]:
        """Return the active release (None: none was ever activated), and the published ones, newest first."""
        with self.client() as client:
            return listed(client)

    def published(self, release: str) -> Published:
        """Manifest and model version that a release was published with. Raises StepError if it is not published."""
        with (
            self.translate_errors(),
            closing(RedisUsers(patient(self.settings).redis)) as users,
        ):
            found = read_published(users, release)
        if found is None:
            raise StepError(
                f"release {release} is not published, or deleted: `make releases` lists those that are"
            )
        return found


def _strings(release: str, content: RecallState) -> dict[str, bytes]:
    """The release's values besides its users, by key."""
    return {
        wire.popular_key(release): json.dumps(content.popular).encode(),
        wire.channels_key(release): content.channels,
    }


def check_user(row: UserRow, stored: Mapping[bytes, bytes]) -> None:
    """Compare one user's hash with its source. Raises CheckError naming the user and the field."""
    wanted = {name.encode(): value for name, value in row.fields().items()}
    for field in sorted({*wanted, *stored}):
        if stored.get(field) != wanted.get(field):
            raise CheckError(
                f"user {row.own_id!r}, field {field.decode()!r}: what Redis holds is not what the source says"
            )


def _chunks(users: Sequence[Row], what: str) -> Iterator[Sequence[Row]]:
    for start in progress(
        range(0, len(users), CHUNK), desc=what, unit="batch", leave=False
    ):
        yield users[start : start + CHUNK]
