"""Experiments in Redis: declarations next to the live pointer, exposures in streams next to the log of events.

The running ones are one value, which servers read in the round trip that every request makes anyway: they learn of a
change with the next request, and where none runs there is nothing to read. An exposure says which user was answered
from which arm, with which items; no answer waits for it to be written.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar

import redis
from prometheus_client import CollectorRegistry, Counter
from pydantic import ConfigDict, TypeAdapter

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event, Logged
from extras.events.log import EXPOSE, EXPOSURES, Call, exposure_user, exposures_key, run
from extras.experiments.declaration import EXPERIMENTS, Experiments
from online.clients.base import ServiceError, StoredError
from online.clients.redis import RedisClient
from online.recommend.types import Answer, Request

log = logging.getLogger(__name__)

KEPT: Final = 12_500  # exposures a partition, about: 200,000 in all, some 100 MB of lists of fifty
ALL_EXPERIMENTS_KEY: Final = (
    "ml:experiments:all"  # string: as `wire.EXPERIMENTS_KEY`, of those that ran, too
)
_AT_A_TIME: Final = 1_000
CAPACITY: Final = 10_000  # exposures that may wait to be written
EVERY_S: Final = 0.2
BATCH: Final = 200
AGAIN_S: Final = 5.0  # after a failure
END_S: Final = 2.0  # that the end of the process waits for the last write

FIRST, SECOND = "0", "1"  # lists that drafted an item of an interleaved one
NEITHER: Final = "-"  # it was added when one list had no more to give

Change = Callable[[Experiments], Experiments]
Shown = TypeVar("Shown")  # what a queue writes of an answer


@dataclass(frozen=True, slots=True)
class Exposure:
    """An answer, as an experiment sees it.

    Attributes:
        dataset: whose user it is: `Dataset.base_name`.
        arm: the user's; of an interleaved experiment "", where the list is of both.
        release: that answered; of an interleaved list, the first arm's.
        as_dealt: False if the answer is not what the experiment requested: an arm's release was not open, or deleted,
            or an interleaved list would have been incomplete.
        timestamp: of the request, in seconds: outcomes happen then or later.
        answered: in milliseconds since 1970-01-01 UTC.
        items: best first.
        teams: of an interleaved list, one character an item: `FIRST`, `SECOND` or `NEITHER`.
        score: the ranker's, of the first item; None: it did not rank, or it is not recorded.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    experiment: str
    arm: str
    recommendation: str
    dataset: str
    userid: OwnId
    release: str
    as_dealt: bool
    timestamp: int
    answered: int
    items: tuple[OwnId, ...]
    teams: str = ""
    score: float | None = None

    @classmethod
    def of(cls, answer: Answer, request: Request, **more: Any) -> Exposure:
        """An answer that is sent now. ``more``: fields that neither it nor its request has."""
        return cls(
            recommendation=answer.recommendation,
            userid=request.userid,
            release=answer.release,
            timestamp=request.timestamp,
            answered=time.time_ns() // 1_000_000,
            items=tuple(answer.itemids),
            **more,
        )


EXPOSURE: Final = TypeAdapter(Exposure)  # reads and writes one, as JSON


class ExperimentStore(RedisClient[None, Experiments]):
    """All experiments, oldest first, and their exposures.

    A subclass with another ``stream`` has a log of its own; ``kept``: of each partition, about.
    """

    stream: ClassVar[str] = EXPOSURES
    kept: ClassVar[int] = KEPT

    def _call(self, query: None) -> Experiments:
        return self._unpacked(self._redis.get(ALL_EXPERIMENTS_KEY))

    def update(self, change: Change) -> Experiments:
        """Change the experiments in one transaction. Raises what ``change`` raises, and ServiceError."""
        in_a_cluster = bool(self._redis.copies(wire.EXPERIMENTS_KEY))

        def changed(pipe: redis.client.Pipeline) -> Any:  # typed to return nothing
            experiments = change(self._unpacked(pipe.get(ALL_EXPERIMENTS_KEY)))
            pipe.multi()
            pipe.set(ALL_EXPERIMENTS_KEY, EXPERIMENTS.dump_json(experiments))
            if not in_a_cluster:
                _set_running(pipe, experiments)
            return experiments

        with self._limited("update"):
            found: Any = self._redis.transaction(
                changed, ALL_EXPERIMENTS_KEY, value_from_callable=True
            )
            if in_a_cluster:
                self._follow()
        experiments: Experiments = found
        return experiments

    def _follow(self) -> None:
        """In a cluster, update the copies of the running experiments, until nobody else has changed them."""
        experiments: Experiments | None = None
        while (
            now := self._unpacked(self._redis.get(ALL_EXPERIMENTS_KEY))
        ) != experiments:
            experiments = now
            _set_running(self._redis, experiments)
        self._redis.set_copies(wire.EXPERIMENTS_KEY)

    def _unpacked(self, raw: Any) -> Experiments:
        try:
            return EXPERIMENTS.validate_json(raw) if raw else ()
        except ValueError as error:
            raise StoredError(
                self.service, "holds experiments that cannot be read"
            ) from error

    def expose(self, exposures: Sequence[Exposure], kept: int | None = None) -> None:
        """Append exposures to the log, which keeps the newest ``kept`` of a partition. Raises ServiceError."""
        kept = kept or self.kept
        with self._limited("expose"):
            calls = []
            for each in exposures:
                partition = wire.event_partition(each.userid)
                keys = (
                    exposures_key(partition, self.stream),
                    wire.user_events_key(each.dataset, each.userid),
                )
                arguments = (
                    kept,
                    each.answered,
                    exposure_user(each.dataset, each.userid),
                    EXPOSURE.dump_json(each),
                )
                calls.append(Call(EXPOSE, keys, arguments))
            run(self._redis, calls)

    def exposures(self, experiment: str, since_ms: int = 0) -> Iterator[Exposure]:
        """Exposures of an experiment that the log has, each partition's in order. Raises ServiceError."""
        return (exposure for _, _, exposure in self._logged(experiment, since_ms))

    def events_of(
        self, dataset: str, userids: Sequence[OwnId]
    ) -> dict[OwnId, list[Event]]:
        """Events of users of a data set (`Dataset.base_name`), in order. Raises ServiceError."""
        events: dict[OwnId, list[Event]] = {}
        for start in range(0, len(userids), _AT_A_TIME):
            some = userids[start : start + _AT_A_TIME]
            with self._limited("events_of"):
                pipeline = self._redis.pipeline(transaction=False)
                for userid in some:
                    pipeline.hgetall(wire.user_events_key(dataset, userid))
                found = pipeline.execute()
            for userid, stored in zip(some, found, strict=True):
                raws = [
                    raw
                    for name, raw in stored.items()
                    if name != wire.FORGOTTEN.encode()
                ]
                events[userid] = [
                    each.event
                    for each in sorted(
                        map(Logged.unpack, raws), key=lambda each: each[:2]
                    )
                ]
        return events

    def remove(self, experiment: str) -> None:
        """Remove an experiment with its exposures. Raises ServiceError."""
        self.update(
            lambda before: tuple(each for each in before if each.name != experiment)
        )
        for key, entry, _ in self._logged(experiment):
            with self._limited("remove"):
                self._redis.xdel(key, entry)

    def _logged(
        self, experiment: str, since_ms: int = 0
    ) -> Iterator[tuple[str, bytes, Exposure]]:
        """Stream, entry, and what it says. Raises ServiceError."""
        for key in (
            exposures_key(partition, self.stream)
            for partition in range(wire.EVENT_PARTITIONS)
        ):
            after: str | None = f"{since_ms}"
            while after is not None:
                with self._limited("exposures"):
                    entries: Any = self._redis.xrange(key, min=after, count=_AT_A_TIME)
                after = f"({entries[-1][0].decode()}" if entries else None
                for entry, fields in entries:
                    try:
                        exposure = EXPOSURE.validate_json(fields[b"exposure"])
                    except (KeyError, ValueError) as error:
                        raise StoredError(
                            self.service, "holds exposures that cannot be read"
                        ) from error
                    if exposure.experiment == experiment:
                        yield key, entry, exposure

    def is_cut(self, since: int, kept: int = KEPT) -> bool:
        """Whether the log may have dropped exposures since this second; ``kept``: as `expose`. Raises ServiceError."""
        with self._limited("is_cut"):
            keys = [
                exposures_key(partition, self.stream)
                for partition in range(wire.EVENT_PARTITIONS)
            ]
            streams: Any = [
                self._redis.xinfo_stream(key) for key in keys if self._redis.exists(key)
            ]
        return any(is_cut(each, since, kept) for each in streams)


def _set_running(client: redis.Redis, experiments: Experiments) -> None:
    if running := tuple(each for each in experiments if each.runs):
        client.set(wire.EXPERIMENTS_KEY, EXPERIMENTS.dump_json(running))
    else:
        client.delete(wire.EXPERIMENTS_KEY)


def is_cut(stream: Mapping[str, Any], since: int, kept: int) -> bool:
    """Whether a stream, as XINFO STREAM describes it, is full and begins after this second.

    Entries deleted with a removed experiment or a forgotten user leave free space in it.
    """
    if stream["length"] < kept:
        return False
    milliseconds, _, _ = stream["first-entry"][0].partition(b"-")
    return int(milliseconds) > since * 1_000


def counting(
    registry: CollectorRegistry, name: str, answers: str
) -> Callable[[str, int], None]:
    """Add a metric for what becomes of a queue's entries."""
    counter = Counter(
        name,
        f"{answers}, by what became of their entries in the log",
        ["result"],
        registry=registry,
    )
    return lambda result, count: counter.labels(result).inc(count)


class ExposureQueue(Generic[Shown]):
    """Exposures on their way to Redis. Shared by threads; its own thread begins with the first exposure.

    While Redis is away they wait; beyond ``capacity`` they are dropped. One whose acknowledgement was lost is written
    twice, so readers drop duplicates.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Shown]], None],
        count: Callable[[str, int], None] = lambda _, __: None,
        capacity: int = CAPACITY,
    ) -> None:
        """``write`` raises ServiceError; ``count`` gets how many were "written" and "dropped"."""
        self._write = write
        self._count = count
        self._capacity = capacity
        self._waiting: deque[Shown] = deque()
        self._lock = threading.Lock()  # guards the thread's start
        self._end = threading.Event()
        self._away = False  # the last write has failed
        self._thread: threading.Thread | None = None

    def put(self, exposure: Shown) -> None:
        """Queue an exposure. Returns at once."""
        if len(self._waiting) >= self._capacity:
            self._count("dropped", 1)
            return
        self._waiting.append(exposure)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="exposures", daemon=True
                )
                self._thread.start()
                atexit.register(self.close)

    def _run(self) -> None:
        while not self._end.wait(EVERY_S):
            if not self._flushed():
                self._end.wait(AGAIN_S)
        self._flushed()

    def _flushed(self) -> bool:
        """Write what waits; False if Redis took no more."""
        while batch := [
            self._waiting[place] for place in range(min(BATCH, len(self._waiting)))
        ]:
            try:
                self._write(batch)
            except ServiceError as error:
                if not self._away:  # one line for each time that Redis is away
                    log.warning("%d exposures wait: %s", len(self._waiting), error)
                self._away = True
                return False
            self._away = False
            for _ in batch:
                self._waiting.popleft()
            self._count("written", len(batch))
        return True

    def close(self) -> None:
        """Write what waits, with one attempt of at most `END_S`; the rest is dropped."""
        self._end.set()
        if self._thread is None:
            return
        self._thread.join(END_S)
        if lost := len(self._waiting):
            log.error("%d exposures are lost: Redis did not take them", lost)
            self._count("dropped", lost)
            self._waiting.clear()
