"""Read the streams of events in Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import redis

from data_exchange_center import wire
from data_exchange_center.events import Event
from data_exchange_center.steps import StepError
from extras.events.event_parts import Entry

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


def entries(client: redis.Redis, log_key: str, after: str | None = None) -> Iterator[Entry]:
    """A stream's entries, from the beginning or after a place. Raises StepError for one that cannot be read."""
    while True:
        page: Any = client.xrange(log_key, min=f"({after}" if after else "-", count=_PAGE)
        yield from (entry_of(log_key, raw, fields) for raw, fields in page)
        if len(page) < _PAGE:
            return
        after = page[-1][0].decode()
