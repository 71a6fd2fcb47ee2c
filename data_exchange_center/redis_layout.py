"""Under which keys a request finds what it reads of Redis: on one server, and in a cluster.

In a cluster, all that one request reads bears the tag of the user's partition (`wire.event_partition`), so it lies in
one slot: one server is asked, in one round trip, in the order in which the commands are sent. What belongs to no user
(which release is live, which experiments run, how often somebody was forgotten, whether a release is kept) lies there
as a copy for each partition, so that no server has to answer for all users. Writers keep the copies; they are few.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_exchange_center import wire
from data_exchange_center.own_ids import OwnId


@dataclass(frozen=True, slots=True)
class RedisLayout:
    """The keys of one server, or those of a cluster."""

    cluster: bool = False

    def user(self, release: str, userid: OwnId) -> str:
        """Hash: a user's state."""
        if not self.cluster:
            return wire.user_key(release, userid)
        return f"{wire.user_prefix(release)}{_tag(wire.event_partition(userid))}:{userid}"

    def beside(self, key: str, userid: OwnId) -> str:
        """Where a request for a user reads what belongs to no user."""
        return f"{key}:{_tag(wire.event_partition(userid))}" if self.cluster else key

    def copies(self, key: str) -> tuple[str, ...]:
        """All that `beside` may name, other than the key itself: none on one server."""
        return tuple(f"{key}:{_tag(partition)}" for partition in range(wire.EVENT_PARTITIONS * self.cluster))


def replacement(key: str) -> str:
    """What is made beside a key and then takes its place; in the same slot of a cluster."""
    return f"{key}:new:{{{key}}}"


def _tag(partition: int) -> str:
    return f"{{{partition}}}"
