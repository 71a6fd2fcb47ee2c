"""The log of events, in Redis: written by functions that run there, so that a user's events change in one step.

An answer means that the event is on disk: Redis runs with `appendfsync always` (online/stack/redis) and replies after
its append-only file is synced. Nothing is lost when Redis is killed, or the machine loses power.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import redis
from tenacity import RetryError, Retrying, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.errors import RecsysError
from data_exchange_center.events import Event
from data_exchange_center.own_ids import OwnId
from data_exchange_center.settings import RedisSettings
from online.clients.base import Client
from online.clients.redis import connect
from online.events import functions

log = logging.getLogger(__name__)

_REWRITE_S: Final = 600.0  # how long a rewrite of the append-only file may take
MOST_COUNTING: Final = 2_000  # events of a user that change the state: each request for the user reads them all


class TooManyEventsError(RecsysError):
    """Of a user, so many events are kept that no more are taken which change the state."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Events to record.

    Attributes:
        noted: types of events that change no state: they are kept in the log alone, however many.
    """

    events: Sequence[Event]
    noted: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What there was of a user."""

    events: int  # that were sent
    releases: int  # that had a state of the user


class EventLog(Client[Recording, tuple[bool, ...]]):
    """Records events, and answers for each whether it is new. To record one again changes nothing.

    Raises TooManyEventsError where a user would have more than ``most`` that count; none of that user's is recorded.
    """

    service: ClassVar[str] = "redis"
    library_errors: ClassVar[tuple[type[Exception], ...]] = (redis.RedisError, OSError)

    def __init__(self, settings: RedisSettings, most: int = MOST_COUNTING) -> None:
        self.timeout_s = settings.timeout_s
        self._most = most
        self._following = threading.Lock()  # held while somebody waits for the end of a rewrite
        self._redis = connect(settings)
        self._features = connect(settings, db=settings.feast_db)

    def _call(self, query: Recording) -> tuple[bool, ...]:
        """One step a user, one round trip for all."""
        of_user: dict[OwnId, list[int]] = {}
        for place, event in enumerate(query.events):
            of_user.setdefault(event.userid, []).append(place)
        pipeline = self._redis.pipeline(transaction=False)
        for userid, places in of_user.items():
            events = [query.events[place] for place in places]
            told = [part for each in events for part in (each.eventid, each.pack(), int(each.type not in query.noted))]
            pipeline.fcall(functions.RECORD, 3, *_keys(userid), self._most, *told)
        new = [False] * len(query.events)
        for (userid, places), answers in zip(of_user.items(), functions.run(self._redis, pipeline), strict=True):
            if answers == [-1]:
                raise TooManyEventsError(
                    f"Of user {userid!r} {self._most:,} events are kept that change what is recommended, and no more "
                    "are taken; those that are only noted still are."
                )
            for place, answer in zip(places, answers, strict=True):
                new[place] = bool(answer)
        return tuple(new)

    def forget(self, userid: OwnId) -> Forgotten:
        """Delete a user's events and exposures, and what releases in Redis and Feast's online store have of the user.

        After a ServiceError it is right to do the same again: the states, which name the rows in Feast, go last. Redis
        drops it from its append-only file soon after, by writing that anew. Raises ServiceError.
        """
        with self._asking("forget"):
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.fcall(functions.FORGET, 4, *_keys(userid), _exposures(userid), json.dumps(userid))
            pipeline.lrange(wire.HISTORY_KEY, 0, -1)
            pipeline.get(wire.LIVE_KEY)
            pipeline.incr(wire.FORGOTTEN_COUNT_KEY)  # after the mark: who sees the count sees the mark
            events, activated, live, _ = functions.run(self._redis, pipeline)
            releases = {release.decode() for release in (*activated, live) if release}
            states = [wire.user_key(release, userid) for release in releases]
            numbers = [number for key in states if (number := self._number(key)) is not None]
            if numbers:
                self._features.delete(*{wire.feast_online_key(number) for number in numbers})
                self._redis.delete(*states)
            for release in releases:
                self._redis.zrem(wire.ids_key(release), str(userid))
                self._redis.zrem(wire.event_counts_key(release), str(userid))
            self._rewrite()
        return Forgotten(events, len(numbers))

    def _number(self, key: str) -> int | None:
        """Who a release's state of a user says the user is in the feature store; None: there is no state."""
        raw: Any = self._redis.hget(key, wire.USER_NUMBER)
        return int(wire.unpack_ids(raw)[0]) if raw is not None else None

    def _rewrite(self) -> None:
        """Where a rewrite is under way, which may have begun before, another one follows it."""
        try:
            self._redis.bgrewriteaof()  # type: ignore[no-untyped-call]
        except redis.ResponseError:
            if self._following.acquire(blocking=False):
                threading.Thread(target=self._follow, name="rewrite", daemon=True).start()

    def _follow(self) -> None:
        again = Retrying(stop=stop_after_delay(_REWRITE_S), wait=wait_fixed(0.5))
        try:
            again(self._redis.bgrewriteaof)
        except RetryError as error:
            log.error("what was forgotten is in Redis's append-only file until its next rewrite: %s", error)
        finally:
            self._following.release()

    def _is_lost(self, error: Exception) -> bool:
        return isinstance(error, redis.ConnectionError)

    def _ping(self) -> str:
        return str(self._redis.ping())

    def close(self) -> None:
        self._redis.close()
        self._features.close()


def _keys(userid: OwnId) -> tuple[str, str, str]:
    log = wire.event_log_key(wire.event_partition(userid))
    return log, wire.user_events_key(userid), wire.noted_events_key(userid)


def _exposures(userid: OwnId) -> str:
    return wire.exposures_key(wire.event_partition(userid))
