"""Users' features in Feast follow the log of events: a second reader of it, with a place of its own for each release.

The place is written after the rows. A reader that was killed in between writes the same rows again: they are what the
users' states say by then, however many events led to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

import redis

from data_exchange_center import wire
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.files import written_in_place
from data_exchange_center.release import Manifest
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events.event_parts import entries
from extras.events.feast_layout import feast_fields, feast_online_key
from offline_to_online.releases import require_parity
from offline_to_online.stores import feast
from offline_to_online.stores.base import TIMEOUT_S
from offline_to_online.stores.redis import RedisStore
from online.clients.redis import RedisUsers, UserQuery, connect


class Followed(NamedTuple):
    """Result of updating a release's rows."""

    release: str
    users: int  # whose rows were written
    why_not: str = ""  # where they do not follow


def follow(settings: Settings, client: redis.Redis) -> list[Followed]:
    """Bring the rows of all kept releases up to date. Raises StepError, ServiceError."""
    return [_follow(settings, client, release) for release in RedisStore(settings).history()]


def _follow(settings: Settings, client: redis.Redis, release: str) -> Followed:
    if (manifest := _checked(settings, release)) is None:
        return Followed(release, 0, "it is being loaded, or not all of it was loaded from here: make sync")
    if Columns.N_RATINGS not in _stored(manifest):
        return Followed(release, 0, f"{Columns.N_RATINGS} is no feature of its users")
    place = feast.followed_file(settings, release)
    before = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    changed, after = _changed(client, manifest.dataset.base_name, before)
    numbers = feast.numbers(settings, release)
    known = {own: numbers["user"][own] for own in changed if own in numbers["user"]}
    counts = _counts(settings, manifest, known, numbers["item"])
    if counts:
        feast.write_users(settings, release, Columns.N_RATINGS, counts)
    _drop_forgotten(settings, manifest, known)
    if _checked(settings, release):  # else a load has begun since, and undoes it
        with written_in_place(place) as temporary:
            temporary.write_text(json.dumps(after) + "\n", encoding="utf-8")
    return Followed(release, len(counts))


def _checked(settings: Settings, release: str) -> Manifest | None:
    """A release that was loaded to the end by a version that notes what is needed here."""
    try:
        manifest, _ = require_parity(settings, release)
    except StepError:
        return None
    return manifest if feast.own_ids_file(settings, release).is_file() else None


def _stored(manifest: Manifest) -> list[str]:
    return [feature.name for feature in manifest.feature_spec.stored("user")]


def _changed(client: redis.Redis, dataset: str, before: Mapping[str, str]) -> tuple[set[OwnId], dict[str, str]]:
    """Whom the log is about behind a place, and up to which place: partition -> an entry's id in Redis."""
    users: set[OwnId] = set()
    after = dict(before)
    for partition in range(wire.EVENT_PARTITIONS):
        for entry in entries(client, wire.event_log_key(dataset, partition), before.get(str(partition))):
            users.add(entry.userid)
            after[str(partition)] = "{}-{}".format(*entry.position)
    return users, after


def _counts(
    settings: Settings, manifest: Manifest, users: Mapping[OwnId, int], items: Mapping[OwnId, int]
) -> dict[int, int]:
    """User number -> how many events the history has by now; without those who were forgotten."""
    counts = {}
    with closing(RedisUsers(settings.redis, timeout_s=TIMEOUT_S)) as states:
        for own, number in users.items():
            user = states.call(UserQuery.of(own, manifest)).user
            if user is not None and user.number:
                counts[number] = len(user.current(manifest.dataset, items, None).history)
    return counts


def _drop_forgotten(settings: Settings, manifest: Manifest, users: Mapping[OwnId, int]) -> None:
    """Drop rows of users who were forgotten while the rows were written: the mark comes before the row's deletion."""
    gone = users.keys() - RedisStore(settings).remembered(list(users), manifest.dataset.base_name)
    fields: set[Any] = feast_fields(manifest.release, _stored(manifest))  # bytes will do
    with closing(connect(settings.redis, timeout_s=TIMEOUT_S, db=settings.redis.feast_db)) as features:
        for own in gone:
            key: Any = feast_online_key(users[own])
            features.hdel(key, *fields)
