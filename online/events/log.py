"""The log of events, in Redis: written by functions that run there, so that a user's events change in one step.

An answer means that the event is on disk: Redis runs with `appendfsync always` (online/stack/redis) and replies after
its append-only file is synced. Nothing is lost when Redis is killed, or the machine loses power.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import redis

from data_exchange_center import wire
from data_exchange_center.events import Event
from data_exchange_center.own_ids import OwnId
from data_exchange_center.settings import RedisSettings
from online.clients.base import Client
from online.clients.redis import connect

_SOURCE: Final = Path(__file__).with_name("functions.lua").read_text(encoding="utf-8")
_DIGEST: Final = hashlib.sha256(_SOURCE.encode()).hexdigest()[:12]
_LIBRARY: Final = f"#!lua name=recsys_{_DIGEST}\n{_SOURCE.replace('DIGEST', _DIGEST)}"
_RECORD: Final = f"recsys_record_{_DIGEST}"
_FORGET: Final = f"recsys_forget_{_DIGEST}"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What there was of a user."""

    events: int  # that were sent
    releases: int  # that had a state of the user


class EventLog(Client[Sequence[Event], tuple[bool, ...]]):
    """Records events, and answers for each whether it is new. To record one again changes nothing."""

    service: ClassVar[str] = "redis"
    library_errors: ClassVar[tuple[type[Exception], ...]] = (redis.RedisError, OSError)

    def __init__(self, settings: RedisSettings) -> None:
        self.timeout_s = settings.timeout_s
        self._redis = connect(settings)
        self._features = connect(settings, db=settings.feast_db)

    def _call(self, query: Sequence[Event]) -> tuple[bool, ...]:
        """One step a user, one round trip for all."""
        of_user: dict[OwnId, list[int]] = {}
        for place, event in enumerate(query):
            of_user.setdefault(event.userid, []).append(place)
        pipeline = self._redis.pipeline(transaction=False)
        for userid, places in of_user.items():
            told = [part for place in places for part in (query[place].eventid, query[place].pack())]
            pipeline.fcall(_RECORD, 2, *_keys(userid), *told)
        new = [False] * len(query)
        for places, answers in zip(of_user.values(), self._run(pipeline), strict=True):
            for place, answer in zip(places, answers, strict=True):
                new[place] = bool(answer)
        return tuple(new)

    def _run(self, pipeline: redis.client.Pipeline) -> Iterable[Any]:
        """Results, after the functions were loaded, where Redis did not have them."""
        commands = list(pipeline.command_stack)
        results = pipeline.execute(raise_on_error=False)
        if any("Function not found" in str(each) for each in results if isinstance(each, redis.ResponseError)):
            self._redis.function_load(_LIBRARY, replace=True)
            pipeline.command_stack = commands
            results = pipeline.execute(raise_on_error=False)
        for each in results:
            if isinstance(each, Exception):
                raise each
        return results

    def forget(self, userid: OwnId) -> Forgotten:
        """Delete a user's events from the log, and what releases in Redis and Feast's online store have of the user.

        Redis drops it from its append-only file soon after, by writing that anew. Raises ServiceError.
        """
        with self._asking("forget"):
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.fcall(_FORGET, 2, *_keys(userid), json.dumps(userid))
            pipeline.lrange(wire.HISTORY_KEY, 0, -1)
            pipeline.get(wire.LIVE_KEY)
            events, activated, live = self._run(pipeline)
            releases = {release.decode() for release in (*activated, live) if release}
            numbers = [self._forget_state(wire.user_key(release, userid)) for release in releases]
            known = {number for number in numbers if number is not None}
            if known:
                self._features.delete(*(wire.feast_online_key(number) for number in known))
            self._rewrite()
        return Forgotten(events, sum(number is not None for number in numbers))

    def _forget_state(self, key: str) -> int | None:
        """Delete a release's state of a user; returns the number in it."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hget(key, wire.USER_NUMBER)
        pipeline.delete(key)
        number, _ = pipeline.execute()
        return int(wire.unpack_ids(number)[0]) if number is not None else None

    def _rewrite(self) -> None:
        with suppress(redis.ResponseError):  # one is under way already
            self._redis.bgrewriteaof()  # type: ignore[no-untyped-call]

    def _is_lost(self, error: Exception) -> bool:
        return isinstance(error, redis.ConnectionError)

    def _ping(self) -> str:
        return str(self._redis.ping())

    def close(self) -> None:
        self._redis.close()
        self._features.close()


def _keys(userid: OwnId) -> tuple[str, str]:
    return wire.event_log_key(wire.event_partition(userid)), wire.user_events_key(userid)
