"""Canaries in Redis: their state as one value, changed in transactions; and what servers have counted.

Counts are sums of what each worker has added in the background, by canary and step; a worker's lost addition is lost
for both groups alike.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import redis
from rich.table import Column, Table

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import Settings
from extras.canary.state import GROUPS, KEY, Canaries, Canary, Member
from online.clients.base import StoredError
from online.clients.redis import RedisClient

log = logging.getLogger(__name__)

KEPT_S: Final = 7 * 24 * 3600  # counts
Change = Callable[[Canaries], Canaries]


@dataclass(frozen=True, slots=True)
class Held:
    """Question whether a user who joins a canary is still answered by the active release.

    ``announce``: note that it answers the user now.
    """

    canary: str
    userid: OwnId
    away_s: float
    announce: bool


class CanaryStore(RedisClient[Held, bool]):
    """The state of canaries, their counts, and the users who join later."""

    def _call(self, query: Held) -> bool:
        """In one round trip. A user is held for as long as requests come within ``away_s``."""
        key, milliseconds = (
            f"ml:canary:{query.canary}:held:{query.userid}",
            int(query.away_s * 1e3),
        )
        if query.announce:
            self._redis.set(key, b"1", px=milliseconds)
            return True
        return bool(self._redis.pexpire(key, milliseconds))

    def canaries(self) -> Canaries:
        """Read the state. Raises ServiceError, StoredError."""
        with self._limited("canaries"):
            return _unpacked(self._redis.get(KEY))

    def update(self, change: Change) -> Canaries:
        """Change the state in one transaction, and log it. Raises what ``change`` raises, and ServiceError."""

        def changed(pipe: redis.client.Pipeline) -> Any:  # typed to return nothing
            before = _unpacked(pipe.get(KEY))
            found = change(before)
            pipe.multi()
            if found != before:
                pipe.set(KEY, found.model_dump_json())
            return before, found

        with self._limited("update"):
            both: Any = self._redis.transaction(changed, KEY, value_from_callable=True)
        before, found = both
        if (
            before.running and not found.running
        ):  # one line, by the process that ended it
            log.warning("%s", found.ended[0])
        elif found.running and found != before:
            log.info(
                "%s%s",
                found.running,
                "; it is being activated" if found.running.activating else "",
            )
        after: Canaries = found
        return after

    def known_users(self, release: str) -> int:
        """How many users a release knows. Raises ServiceError."""
        with self._limited("known_users"):
            return int(self._redis.zcard(wire.ids_key(release)))  # type: ignore[arg-type]

    def add(
        self,
        canary: Canary,
        counts: Mapping[str, int],
        users: Mapping[Member, Collection[OwnId]],
    ) -> None:
        """Add a worker's counts, and the users of each group that were answered. Raises ServiceError."""
        key = _key(canary)
        with (
            self._limited("add"),
            self._redis.at(key) as server,
            server.pipeline(transaction=True) as pipe,
        ):
            for name, count in counts.items():
                pipe.hincrby(key, name, count)
            pipe.expire(key, KEPT_S)
            for group, answered in users.items():
                of_users = f"{key}:users:{group}"
                pipe.pfadd(of_users, *map(str, answered))
                pipe.expire(of_users, KEPT_S)
            pipe.execute()

    def counts(self, canary: Canary) -> tuple[dict[str, int], dict[Member, int]]:
        """All workers' counts of the canary's step, and how many users of each group it has. Raises ServiceError."""
        key = _key(canary)
        with (
            self._limited("counts"),
            self._redis.at(key) as server,
            server.pipeline(transaction=True) as pipe,
        ):
            pipe.hgetall(key)
            for group in GROUPS:
                pipe.pfcount(f"{key}:users:{group}")
            stored, *users = pipe.execute()
        counts = {name.decode(): int(count) for name, count in stored.items()}
        return counts, dict(zip(GROUPS, map(int, users), strict=True))


def _key(canary: Canary) -> str:
    return f"ml:canary:{{{canary.id}}}:{canary.step}"


def _unpacked(raw: Any) -> Canaries:
    try:
        return Canaries.model_validate_json(raw) if raw else Canaries()
    except ValueError as error:
        raise StoredError(
            "redis", f"holds a state of canaries that cannot be read (key {KEY})"
        ) from error


# --- for `make canary`


def overview(settings: Settings) -> Table | None:
    """Table of the canaries, newest first; None: there was none."""
    with closing(CanaryStore(settings.redis)) as store:
        found = store.canaries()
    table = Table(
        *(Column(name, overflow="fold") for name in ("canary", "until (UTC)", "state")),
        title="canaries",
    )
    if found.running is not None:
        running = found.running
        at = "runs"
        if running.activating:
            at = "activating"
        elif running.waiting:
            at = "waits"
        table.add_row(
            running.release,
            at,
            f"{running.status(time.time())}, against {running.active}",
        )
    for each in found.ended:
        at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(each.ended))
        table.add_row(each.release, at, each.result)
    return table if table.row_count else None
