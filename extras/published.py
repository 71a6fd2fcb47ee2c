"""The published releases that this version of the project can read.

After an upgrade that changes the format of releases the earlier ones stay published until newer ones replace them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from data_exchange_center.manifest import Published
from online.clients.base import StoredError
from online.clients.redis import RedisUsers
from online.recommend.loaded_release import read_published


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
