"""The active release, and the published ones that this version of the project can read.

After an upgrade that changes the format of releases the earlier ones stay published until newer ones replace them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from data_exchange_center.manifest import Manifest, Published
from online.clients.base import StoredError
from online.clients.redis import RedisUsers
from online.recommend.loaded_release import read_published
from online.recommend.outcomes import NoReleaseError
from online.recommend.releases import NONE_ACTIVE


def active_manifest(users: RedisUsers) -> Manifest:
    """Manifest of the active release. Raises NoReleaseError, ServiceError."""
    active = users.listed()[0]
    published = read_published(users, active) if active else None
    if published is None:
        raise NoReleaseError(NONE_ACTIVE)
    return published.manifest


def readable(users: RedisUsers, releases: Iterable[str]) -> Iterator[Published]:
    """Read manifests of ``releases``; those of another format, and those deleted since, are left out.

    Raises ServiceError.
    """
    for release in releases:
        try:
            published = read_published(users, release)
        except StoredError:
            continue
        if published is not None:
            yield published
