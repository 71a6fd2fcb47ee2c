"""The log of events, in Redis: written by Redis functions (Lua), so that a user's events change atomically.

An answer means that the event is on disk: Redis runs with `appendfsync always` (stack/redis.py) and replies after
its append-only file is synced. Nothing is lost when Redis is killed, or the machine loses power. In a cluster an answer
means that as many replicas as `RedisSettings.write_replicas` says have received it, too: with one, nothing is lost when
a master fails and its replica takes over. If they do not confirm in time, the answer is an error; a retry counts an
event once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import mmh3
import redis
from pydantic import ValidationError
from tenacity import RetryError, Retrying, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event, Logged
from data_exchange_center.manifest import Manifest, Published
from data_exchange_center.settings import RedisSettings
from online.clients.base import NEVER, Deadline, current
from online.clients.publishing import listed
from online.clients.redis import Connected, RedisClient, connect

log = logging.getLogger(__name__)

_SOURCE: Final = Path(__file__).with_name("functions.lua").read_text(encoding="utf-8")
_DIGEST: Final = hashlib.sha256(_SOURCE.encode()).hexdigest()[:12]
_LIBRARY: Final = f"#!lua name=recsys_{_DIGEST}\n{_SOURCE.replace('DIGEST', _DIGEST)}"
EXPOSE: Final = "expose"  # a function there
_REWRITE_S: Final = 600.0  # how long a rewrite of the append-only file may take
_FULL: Final = -1  # what the function answers where too many are there
_SLICE: Final = 500  # of a user's entries that one call deletes
EXPOSURES: Final = "exposures"
SERVED: Final = "served"
# of experiments and canaries; a sample of all answers, to measure quality
STREAMS: Final = (EXPOSURES, SERVED)
MOST_COUNTING: Final = 2_000  # events of a user that change the state: each request for the user reads them all


@dataclass(frozen=True, slots=True)
class Recording:
    """Events to record.

    Attributes:
        dataset: whose users and items they speak of: `Dataset.base_name`.
        noted: types of events that change no state: they are kept in the log alone.
    """

    dataset: str
    events: Sequence[Event]
    noted: Collection[str] = ()


class EventLog(RedisClient[Recording, tuple[int, ...]]):
    """Record events, and return for each whether it is new. Recording one again changes nothing.

    If a user would have more than ``most`` that count, the oldest are moved to the noted ones (compaction): requests
    no longer read them, and the next release is trained on them.
    """

    def __init__(self, settings: RedisSettings, most: int = MOST_COUNTING) -> None:
        super().__init__(settings)
        self._most = most
        # held while somebody waits for the end of a rewrite
        self._following = threading.Lock()
        self._is_cluster = settings.cluster
        self._replicas = settings.write_replicas if settings.cluster else 0
        self._features = connect(settings, db=settings.feast_db)

    def call(
        self, query: Recording, deadline: Deadline = NEVER, *, strict: bool = True
    ) -> tuple[bool, ...]:
        """Whether each is new. Raises ServiceError."""
        answers = super().call(query, deadline, strict=strict)
        # others may fill the room that is made; a request has fewer events than may count
        while _FULL in answers:
            coming = Counter(
                event.userid
                for event, answer in zip(query.events, answers, strict=True)
                if answer == _FULL
            )
            for userid, count in coming.items():
                self._compact(_keys(query.dataset, userid), count)
            # what was recorded before is known now
            again = super().call(query, deadline, strict=strict)
            answers = tuple(map(max, answers, again))
        return tuple(map(bool, answers))

    def _compact(self, keys: tuple[str, str, str], coming: int) -> None:
        """Move a user's oldest events to the noted ones: a quarter, or as many as are ``coming``."""
        _, counting, _ = keys
        with self._limited("compact"):
            stored: Any = self._redis.hgetall(counting)
            stored.pop(wire.FORGOTTEN.encode(), None)
            places = {
                eventid: Logged.unpack(raw).position for eventid, raw in stored.items()
            }
            oldest = sorted(places, key=places.__getitem__)
            self._run(Call("compact", keys, oldest[: max(self._most // 4, coming)]))

    def _call(self, query: Recording) -> tuple[int, ...]:
        """One atomic call per user, one round trip for all.

        Returns 1 (new), 0 (known) or, for all events of a user, `_FULL`.
        """
        of_user: dict[OwnId, list[int]] = {}
        for place, event in enumerate(query.events):
            of_user.setdefault(event.userid, []).append(place)
        calls = []
        for userid, places in of_user.items():
            arguments: list[Any] = [self._most]
            for place in places:
                event = query.events[place]
                counts = int(event.type not in query.noted)
                arguments += [event.eventid, event.pack(), counts]
            calls.append(Call("record", _keys(query.dataset, userid), arguments))
        answers = [0] * len(query.events)
        for places, found in zip(of_user.values(), self._run(*calls), strict=True):
            if found[0] == _FULL:
                found = found * len(places)
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        return tuple(answers)

    def forget(self, userid: OwnId, dataset: str) -> int:
        """Delete a data set's user from the logs, and what its releases have in Redis and Feast's online store.

        Each step has a call's time limit. A retry after a ServiceError is safe: the states, which name the rows in
        Feast, are deleted last. A rewrite soon drops the data from Redis's files, too. Returns how many events were
        deleted. Raises ServiceError.
        """
        events = self._forget_events(userid, dataset)
        with self._limited("forget"):
            # after the mark: who sees the count sees the mark
            self._redis.incr(wire.FORGOTTEN_COUNT_KEY)
        loaded = self._loaded()
        with self._limited("forget"):
            others = {}
            for release in loaded:
                manifest = self._manifest(release)
                if manifest is not None and manifest.dataset.base_name != dataset:
                    others[release] = manifest
            releases = loaded - others.keys()
            states = [self._redis.user_key(release, userid) for release in releases]
            numbers = []
            for state in states:
                raw: Any = self._redis.hget(state, wire.USER_NUMBER)
                if raw is not None:
                    numbers.append(int(wire.unpack_ids(raw)[0]))
            if numbers:
                self._drop_features(set(numbers), others)
                for key in states:
                    self._redis.delete(key)
            for release in releases:
                for key in (wire.ids_key(release), wire.event_counts_key(release)):
                    self._redis.zrem(key, str(userid))
                    self._redis.zrem(wire.replacement(key), str(userid))
            self._rewrite()
        return events

    def _forget_events(self, userid: OwnId, dataset: str) -> int:
        """Delete a user's events and exposures, some at a time: others are answered in between."""
        log_key, counting, noted = _keys(dataset, userid)
        going = noted.replace("ml:noted:", "ml:forgetting:", 1)
        begin = Call("forget", (log_key, counting, noted, going), (json.dumps(userid),))
        go_on = Call("forget_noted", (log_key, going), (_SLICE,))
        deleted: int = 0
        # an interrupted call may have left noted ones
        while (counted := self._one(begin)) < 0:
            deleted += self._one(go_on)
        deleted += counted
        while some := self._one(go_on):
            deleted += some
        user = exposure_user(dataset, userid)
        for stream in STREAMS:
            shown, place = exposures_key(wire.event_partition(userid), stream), "-"
            while place:
                call = Call("forget_exposures", (shown,), (user, place, _SLICE))
                place = self._one(call).decode()
        return deleted

    def _one(self, call: Call) -> Any:
        """Run one function of `forget`, within a call's time limit."""
        with self._limited("forget"):
            return self._run(call)[0]

    def _loaded(self) -> set[str]:
        """Releases that have users in Redis: those that are not published, or are being loaded, too."""
        with self._limited("forget"):
            # typed for the asynchronous client too
            loaded: Any = self._redis.smembers(wire.LOADED_KEY)
            return {raw.decode() for raw in loaded} | set(listed(self._redis)[1])

    def _run(self, *calls: Call) -> list[Any]:
        return run(self._redis, calls, self._replicas, current().left())

    def _manifest(self, release: str) -> Manifest | None:
        """Manifest of a release; None: unknown, so it may be of any data set."""
        raw: Any = self._redis.get(wire.manifest_key(release))
        try:
            return Published.model_validate_json(raw or b"").manifest
        except ValidationError:
            return None

    def _drop_features(
        self, numbers: Collection[int], others: Mapping[str, Manifest]
    ) -> None:
        """Delete fields from Feast's rows, which other data sets' releases share: their users have the same numbers."""
        kept: set[bytes] = set()
        for release, manifest in others.items():
            names = (each.name for each in manifest.feature_spec.stored("user"))
            kept |= feast_fields(release, names)
        for number in numbers:
            key: Any = feast_online_key(number)  # bytes will do
            fields: Any = self._features.hkeys(key)
            if gone := set(fields) - kept:
                self._features.hdel(key, *gone)

    def _rewrite(self) -> None:
        """Rewrite Redis's files; if a rewrite is under way, after it, as it may have begun before."""
        if self._following.acquire(blocking=False):
            threading.Thread(target=self._follow, name="rewrite", daemon=True).start()

    def _begin_rewrite(self) -> None:
        client: Any = self._redis
        everywhere = {"target_nodes": client.get_nodes()} if self._is_cluster else {}
        client.execute_command("BGREWRITEAOF", **everywhere)
        client.execute_command("BGSAVE", "SCHEDULE", **everywhere)  # after it: dump.rdb

    def _follow(self) -> None:
        again = Retrying(stop=stop_after_delay(_REWRITE_S), wait=wait_fixed(0.5))
        try:
            again(self._begin_rewrite)
        except RetryError as error:
            log.error(
                "what was forgotten is in Redis's append-only file until its next rewrite: %s",
                error,
            )
        finally:
            self._following.release()

    def close(self) -> None:
        super().close()
        self._features.close()


# --- keys of what is kept of users outside of releases; those of the events that requests read are in `wire`
LOG_EVENT: Final = "event"  # field of a log's entry: an `events.Event`, packed
LOG_FORGET: Final = "forget"  # ... or the own id, as JSON, of a user whose events before this entry are gone


def event_log_key(dataset: str, partition: int) -> str:
    """Stream: the events of the partition's users, in the order in which they were acknowledged."""
    return f"ml:log:{dataset}:{{{partition}}}"


def noted_events_key(dataset: str, userid: OwnId) -> str:
    """Hash: eventid -> position in the log, of the events that change no state. No request reads it."""
    return f"ml:noted:{dataset}:{wire.partition_tag(userid)}:{userid}"


def exposures_key(partition: int, stream: str = EXPOSURES) -> str:
    """Stream: which users of the partition were answered from which arm of an experiment, and with which items.

    ``stream``: one of `STREAMS`.
    """
    return f"ml:{stream}:{{{partition}}}"


def exposure_user(dataset: str, userid: OwnId) -> str:
    """Data set and user of an exposure, as JSON."""
    return json.dumps([dataset, userid])


def _keys(dataset: str, userid: OwnId) -> tuple[str, str, str]:
    log = event_log_key(dataset, wire.event_partition(userid))
    return log, wire.user_events_key(dataset, userid), noted_events_key(dataset, userid)


# ------------------------------------------------------------------------------------------- functions in Redis


class Call(NamedTuple):
    """Call of a function of `functions.lua`: its keys are of one slot, so in a cluster one server can run it."""

    function: str
    keys: Sequence[str]
    arguments: Sequence[Any]


class TooFewReplicasError(redis.RedisError):
    """A write is not on as many replicas as must have it, so it is not acknowledged."""


def run(
    client: Connected, calls: Sequence[Call], replicas: int = 0, timeout_s: float = 1.0
) -> list[Any]:
    """Run calls, in one round trip per server, and return their results. Raises what a call raises.

    ``replicas``: how many must have received it within ``timeout_s``, besides the server that wrote it: else
    TooFewReplicasError. The functions are loaded where they are missing.
    """
    groups: dict[str, list[int]] = {}
    for place, call in enumerate(calls):
        groups.setdefault(client.server_of(call.keys[0]), []).append(place)
    results: list[Any] = [None] * len(calls)
    for places in groups.values():
        of_server = [calls[place] for place in places]
        with client.at(of_server[0].keys[0]) as server:
            answers = _send(server, of_server, replicas, timeout_s)
            if any(
                "Function not found" in str(each)
                for each in answers
                if isinstance(each, redis.ResponseError)
            ):
                server.function_load(_LIBRARY, replace=True)
                answers = _send(server, of_server, replicas, timeout_s)
            for each in answers:
                if isinstance(each, Exception):
                    raise each  # within `at`, which looks again where MOVED says that another server has the key
        if replicas and (copied := answers.pop()) < replicas:
            raise TooFewReplicasError(
                f"on {copied} replicas instead of {replicas} within {timeout_s:g} s"
            )
        for place, answer in zip(places, answers, strict=True):
            results[place] = answer
    return results


def _send(
    server: redis.Redis, calls: Sequence[Call], replicas: int, timeout_s: float
) -> list[Any]:
    """Send calls. Returns answers or errors, then, with ``replicas``, how many replicas have received them."""
    pipeline = server.pipeline(transaction=False)
    for call in calls:
        name = f"recsys_{call.function}_{_DIGEST}"
        pipeline.fcall(name, len(call.keys), *call.keys, *call.arguments)
    # for this connection's writes; WAIT ends before the client's own timeout
    if replicas:
        pipeline.execute_command("WAIT", replicas, max(1, int(timeout_s * 800)))  # type: ignore[no-untyped-call]
    return list(pipeline.execute(raise_on_error=False))


# --- Feast's own layout in Redis, version 3, by which a user's features are deleted without Feast
FEAST_PROJECT: Final = "recsys"  # as feature_store.yaml says


def feast_online_key(number: int) -> bytes:
    """Redis key, in Feast's database, of what all releases have of a user; version 3 of the layout."""
    key = wire.FEAST_KEY["user"].encode()
    string, int64 = 2, 4  # of Feast's ValueType
    names = struct.pack("<III", 1, string, len(key)) + key
    values = struct.pack("<IIq", int64, 8, number)
    return names + values + FEAST_PROJECT.encode()


def feast_fields(release: str, features: Iterable[str]) -> set[bytes]:
    """Fields under that key that belong to a release; ``features``: all that it stores of a user."""
    view = wire.feast_name(wire.FEAST_SERVICE["user"], release)
    hashes = (mmh3.hash(f"{view}:{name}", signed=False) for name in features)
    return {f"_ts:{view}".encode(), *(struct.pack("<I", each) for each in hashes)}
