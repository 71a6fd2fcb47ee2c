"""Which releases are published, and which one is active: a list and a pointer in Redis, and how they change.

A release is published by `publish_release`, answers by default from `activate_release` on, and is unpublished by
`retire_releases`. Each is one transaction, so that no two processes undo each other's change.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from data_exchange_center import wire


class Publishing(redis.Redis):
    """redis-py's client of one server, with the changes of the list and the pointer."""

    def publish_release(self, release: str, manifest: str) -> None:
        """Write a release's manifest and list the release as published, in one transaction."""
        with self.pipeline(transaction=True) as pipe:
            pipe.set(wire.manifest_key(release), manifest)
            put_first(pipe, release)
            pipe.execute()

    def activate_release(self, release: str) -> bool:
        """Have a published release answer by default, in one transaction; False: it is not published.

        The one that it replaces is right behind it in the list, so that one is retired last.
        """

        def activate(pipe: redis.client.Pipeline) -> Any:  # typed to return nothing
            if not pipe.exists(wire.manifest_key(release)):
                return False
            before, _ = listed(pipe)
            pipe.multi()
            pipe.set(wire.LIVE_KEY, release)
            put_first(pipe, release, before)
            return True

        watched = wire.LIVE_KEY, wire.manifest_key(release)
        return bool(self.transaction(activate, *watched, value_from_callable=True))

    def retire_releases(self, releases: Collection[str], keep: int) -> set[str]:
        """Unpublish all releases but ``keep``, in one transaction. Returns those, of ``releases`` too, not to keep."""

        def retire(pipe: redis.client.Pipeline) -> Any:  # typed to return nothing
            live, published = listed(pipe)
            gone = {*releases, *published}.difference(
                kept_releases(live, published, keep)
            )
            pipe.multi()
            for release in gone:
                pipe.lrem(wire.PUBLISHED_KEY, 0, release)
                pipe.delete(wire.manifest_key(release))
            return gone

        watched = wire.LIVE_KEY, wire.PUBLISHED_KEY
        gone: Any = self.transaction(retire, *watched, value_from_callable=True)
        return set(gone)


@dataclass(frozen=True, slots=True)
class Control:
    """What Redis says to all servers, besides the users."""

    # the release that answers by default; None: none was ever activated
    active: str | None
    published: Sequence[str]  # last published or activated first
    forgotten: int = 0  # how often somebody was forgotten


def control(client: redis.Redis) -> Control:
    """Read what all servers follow."""
    active, published = listed(client)
    forgotten: Any = client.get(wire.FORGOTTEN_COUNT_KEY)  # typed for async, too
    return Control(active, published, int(forgotten or 0))


def listed(client: redis.Redis) -> tuple[str | None, list[str]]:
    """Read the active release, and the published ones, last published or activated first."""
    live: Any = client.get(wire.LIVE_KEY)  # typed for the asynchronous client too
    published: Any = client.lrange(wire.PUBLISHED_KEY, 0, -1)
    active = live.decode() if live else None
    releases = [raw.decode() for raw in published]
    if active and active not in releases:
        releases.append(active)
    return active, list(dict.fromkeys(releases))


def put_first(
    pipe: redis.client.Pipeline, release: str, second: str | None = None
) -> None:
    """Put a release first in the list of published ones, and ``second`` behind it."""
    for each in filter(None, (second, release)):
        pipe.lrem(wire.PUBLISHED_KEY, 0, each)
        pipe.lpush(wire.PUBLISHED_KEY, each)


def kept_releases(active: str | None, published: Sequence[str], keep: int) -> list[str]:
    """The ``keep`` releases that stay published: the active one, and the first others of the list."""
    others = [release for release in published if release != active]
    return [active, *others[: keep - 1]] if active else others[:keep]
