"""Experiments in Redis: declared beside the pointer to the live release, exposures in streams beside the log of events.

Those that run are one value, which servers read in the round trip that every request makes anyway: they know of a
change with the next request, and where none runs there is nothing to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import redis

from data_exchange_center import wire
from extras.events import functions
from extras.events.functions import Call
from extras.experiments.declaration import Experiments, pack, unpack
from extras.experiments.exposures import Exposure
from online.clients.base import StoredError
from online.clients.redis import RedisClient, set_copies

KEPT: Final = 12_500  # exposures a partition, about: 200,000 in all, some 100 MB of lists of fifty
_AT_A_TIME: Final = 1_000
Change = Callable[[Experiments], Experiments]


class ExperimentStore(RedisClient[None, Experiments]):
    """All experiments that there are, oldest first; and what is written of them."""

    def _call(self, query: None) -> Experiments:
        return self._unpacked(self._redis.get(wire.ALL_EXPERIMENTS_KEY))

    def update(self, change: Change) -> Experiments:
        """Change them in one step, whoever else does. Raises what ``change`` raises, and ServiceError."""

        def changed(pipe: redis.client.Pipeline) -> Any:  # typed to return nothing
            experiments = change(self._unpacked(pipe.get(wire.ALL_EXPERIMENTS_KEY)))
            pipe.multi()
            pipe.set(wire.ALL_EXPERIMENTS_KEY, pack(experiments))
            if not self._layout.cluster:
                _set_running(pipe, experiments)
            return experiments

        with self._asking("update"):
            found: Any = self._redis.transaction(changed, wire.ALL_EXPERIMENTS_KEY, value_from_callable=True)
            if self._layout.cluster:
                self._follow()
        experiments: Experiments = found
        return experiments

    def _follow(self) -> None:
        """In a cluster, where those that run lie elsewhere: bring them up to date, whoever else changes them."""
        experiments: Experiments | None = None
        while (now := self._unpacked(self._redis.get(wire.ALL_EXPERIMENTS_KEY))) != experiments:
            experiments = now
            _set_running(self._redis, experiments)
        set_copies(self._redis, self._layout, wire.EXPERIMENTS_KEY)

    def _unpacked(self, raw: Any) -> Experiments:
        try:
            return unpack(raw) if raw else ()
        except ValueError as error:
            raise StoredError(self.service, "holds experiments that cannot be read") from error

    def expose(self, exposures: Sequence[Exposure], kept: int = KEPT) -> None:
        """Append them to the log, which keeps the newest ``kept`` of a partition. Raises ServiceError."""
        with self._asking("expose"):
            functions.run(self._redis, [_exposing(each, kept) for each in exposures])

    def exposures(self, experiment: str) -> Iterator[Exposure]:
        """Those of an experiment that the log still has, each partition's in their order. Raises ServiceError."""
        return (exposure for _, _, exposure in self._logged() if exposure.experiment == experiment)

    def remove(self, experiment: str) -> None:
        """As if there had never been one of that name. Raises ServiceError."""
        self.update(lambda before: tuple(each for each in before if each.name != experiment))
        for key, entry, exposure in self._logged():
            if exposure.experiment == experiment:
                with self._asking("remove"):
                    self._redis.xdel(key, entry)

    def _logged(self) -> Iterator[tuple[str, bytes, Exposure]]:
        """Stream, entry, and what it says."""
        for partition in range(wire.EVENT_PARTITIONS):
            after = "-"
            while entries := self._entries(partition, after):
                for entry, fields in entries:
                    after = f"({entry.decode()}"
                    yield wire.exposures_key(partition), entry, self._exposure(fields)

    def _entries(self, partition: int, after: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        with self._asking("exposures"):
            found: Any = self._redis.xrange(wire.exposures_key(partition), min=after, count=_AT_A_TIME)
        entries: list[tuple[bytes, dict[bytes, bytes]]] = found
        return entries

    def _exposure(self, fields: dict[bytes, bytes]) -> Exposure:
        try:
            return Exposure.unpack(fields[wire.EXPOSURE.encode()])
        except (KeyError, TypeError, ValueError) as error:
            raise StoredError(self.service, "holds exposures that cannot be read") from error

    def is_cut(self, since: int, kept: int = KEPT) -> bool:
        """Whether the log may have dropped exposures since this second; ``kept``: as `expose`. Raises ServiceError."""
        with self._asking("is_cut"):
            keys = [wire.exposures_key(partition) for partition in range(wire.EVENT_PARTITIONS)]
            told: Any = [self._redis.xinfo_stream(key) for key in keys if self._redis.exists(key)]
        return any(is_cut(each, since, kept) for each in told)


def _set_running(client: redis.Redis, experiments: Experiments) -> None:
    if running := tuple(each for each in experiments if each.runs):
        client.set(wire.EXPERIMENTS_KEY, pack(running))
    else:
        client.delete(wire.EXPERIMENTS_KEY)


def _exposing(each: Exposure, kept: int) -> Call:
    keys = wire.exposures_key(wire.event_partition(each.userid)), wire.user_events_key(each.dataset, each.userid)
    told = kept, each.answered, wire.exposure_user(each.dataset, each.userid), each.pack()
    return Call(functions.EXPOSE, keys, told)


def is_cut(stream: Mapping[str, Any], since: int, kept: int) -> bool:
    """Whether a stream, as XINFO STREAM tells of it, is full and begins after this second.

    What an experiment that was removed, or a user who was forgotten, has taken from it does not make it full.
    """
    if stream["length"] < kept:
        return False
    milliseconds, _, _ = stream["first-entry"][0].partition(b"-")
    return int(milliseconds) > since * 1_000
