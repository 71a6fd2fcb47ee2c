"""From the log of events in Redis to Parquet: a consumer that repeats nothing and loses nothing.

How far the log was read is what lies on disk (`EventParts.last`), and nowhere else: killed at any moment, or after
files were lost, a consumer goes on where its folder ends. So several, each with a folder of its own, read the same log.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import redis

from data_exchange_center import wire
from extras.events.event_parts import Entry, EventParts, Position
from extras.events.stream import entry_of

BATCH: Final = 10_000  # entries of a file, at most
_LOG: Final = re.compile(rb"ml:log:([^{]+):\{\d+\}")


class Brought(NamedTuple):
    """How much of the log was new."""

    events: int
    forgotten: int  # users

    def __add__(self, other: Brought) -> Brought:  # type: ignore[override]
        return Brought(self.events + other.events, self.forgotten + other.forgotten)


def logged_datasets(client: redis.Redis) -> list[str]:
    """Those of which there is a log, by their `Dataset.base_name`."""
    found = (_LOG.fullmatch(key) for key in client.scan_iter("ml:log:*", count=5_000))
    return sorted({match.group(1).decode() for match in found if match})


def bring(client: redis.Redis, dataset: str, parts: EventParts, batch: int = BATCH) -> Brought:
    """Write what is new in a data set's log to ``parts``. Raises StepError for an entry that cannot be read."""
    brought = Brought(0, 0)
    with parts.locked():
        for partition in range(wire.EVENT_PARTITIONS):
            key = wire.event_log_key(dataset, partition)
            while entries := _next(client, key, parts.last(partition), batch):
                parts.append(partition, entries)
                events = sum(entry.event is not None for entry in entries)
                brought += Brought(events, len(entries) - events)
    return brought


def _next(client: redis.Redis, key: str, last: Position, batch: int) -> list[Entry]:
    milliseconds, count = last
    entries: Any = client.xrange(key, min=f"({milliseconds}-{count}", count=batch)
    return [entry_of(key, raw, fields) for raw, fields in entries]
