"""The users of a release, to choose from: their ids and how many events each has in it."""

from __future__ import annotations

from typing import Any, NamedTuple

from data_exchange_center import wire
from online.clients.base import StoredError
from online.clients.redis import USERS_STEP, RedisClient


class Listing(NamedTuple):
    """Users to list.

    Attributes:
        dataset: `Dataset.base_name` of the release: its users who were forgotten are left out.
        prefix: text that their own ids begin with.
        fewest: those with the fewest events of all, without a prefix; else in the order of their ids' text.
    """

    release: str
    dataset: str
    at_most: int
    prefix: str = ""
    fewest: bool = False


class UserList(RedisClient[Listing, list[tuple[str, int]]]):
    """Own ids, as text, and events of each. StoredError where the release has no list of its users."""

    def _call(self, query: Listing) -> list[tuple[str, int]]:
        counts = wire.event_counts_key(query.release)
        found: Any  # typed for the asynchronous client too
        if query.fewest:
            found = self._redis.zrange(counts, 0, query.at_most - 1, withscores=True)
        else:
            ids_key, first = wire.ids_key(query.release), b"[" + query.prefix.encode()
            ids: Any = self._redis.zrangebylex(
                ids_key, first, first + b"\xff", start=0, num=query.at_most
            )
            numbers: Any = self._redis.zmscore(counts, ids) if ids else []
            found = zip(ids, numbers, strict=True)
        users = [
            (each.decode(), int(number)) for each, number in found if number is not None
        ]
        if not users and not (query.prefix and self._redis.exists(counts)):
            raise StoredError(
                self.service,
                f"holds no list of the users of release {query.release}; {USERS_STEP} writes it",
            )
        pipeline = self._redis.pipeline(transaction=False)
        for userid, _ in users:
            pipeline.hexists(
                wire.user_events_key(query.dataset, userid), wire.FORGOTTEN
            )
        gone = pipeline.execute()
        return [each for each, is_gone in zip(users, gone, strict=True) if not is_gone]
