"""The streams of events in Redis, as a reader finds them.

Those whose keys name no data set are of an earlier version, and nothing appends to them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import redis

from data_exchange_center import wire
from data_exchange_center.event_parts import Entry, Position
from data_exchange_center.events import Event
from data_exchange_center.own_ids import OwnId
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from data_exchange_center.unnamed_events import expect_named, unnamed_parts

_PAGE: Final = 1_000  # entries


def entry_of(key: str, raw: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    """An entry of a log as it lies in Redis. Raises StepError for one that cannot be read."""
    milliseconds, _, count = raw.decode().partition("-")
    position = int(milliseconds), int(count)
    try:
        if (forgotten := fields.get(wire.LOG_FORGET.encode())) is not None:
            return Entry(position, json.loads(forgotten), None)
        event = Event.unpack(fields[wire.LOG_EVENT.encode()])
    except (KeyError, TypeError, ValueError) as error:
        raise StepError(
            f"entry {raw.decode()} of {key} in Redis is no event ({error}). It was written by another version or by "
            f"hand: take it out with `XDEL {key} {raw.decode()}` and run this step again."
        ) from error
    return Entry(position, event.userid, event)


def count_unnamed(client: redis.Redis) -> int:
    """How many entries of an earlier version there are."""
    lengths: list[Any] = [client.xlen(wire.unnamed_log_key(partition)) for partition in range(wire.EVENT_PARTITIONS)]
    return sum(lengths)


def entries(client: redis.Redis, log_key: str, after: str | None = None) -> Iterator[Entry]:
    """All of a stream's; ``after``: those behind that place. Raises StepError for one that cannot be read."""
    return (entry for entry, _ in _read(client, log_key, f"({after}" if after else "-"))


def forgotten(client: redis.Redis, log_key: str, *, taken_over: bool = False) -> dict[OwnId, Position]:
    """Where in a log its users were forgotten last.

    ``taken_over``: of the marks, only those that were taken over from an unnamed log; else only the others.
    """
    marks = ((entry, fields) for entry, fields in _read(client, log_key) if entry.event is None)
    return {
        entry.userid: entry.position for entry, fields in marks if (wire.LOG_UNTIL.encode() in fields) == taken_over
    }


def expect_all_named(client: redis.Redis, settings: Settings) -> None:
    """Raises StepError where somebody was forgotten of a data set that is not known, as Redis or a file says."""
    keys = [wire.unnamed_log_key(partition) for partition in range(wire.EVENT_PARTITIONS)]
    in_redis = {str(userid) for key in keys for userid in forgotten(client, key)}
    expect_named(in_redis | unnamed_parts(settings).forgotten().keys())


def _read(client: redis.Redis, log_key: str, after: str = "-") -> Iterator[tuple[Entry, dict[bytes, bytes]]]:
    while True:
        page: Any = client.xrange(log_key, min=after, count=_PAGE)
        yield from ((entry_of(log_key, raw, fields), fields) for raw, fields in page)
        if len(page) < _PAGE:
            return
        after = f"({page[-1][0].decode()}"
