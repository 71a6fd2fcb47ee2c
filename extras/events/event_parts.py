"""Read the log of events in Redis and keep it as Parquet for the next training, each event exactly once.

Each partition of the log is a series of files, each named by the range that it holds. A file appears whole or not at
all, so the names are the consumer's offsets; no other record could contradict them. Killed at any moment, a consumer
resumes where its folder ends; an empty folder gets the whole log. Several consumers, each with its own folder, can read
the same log.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import redis

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event, position_of
from data_exchange_center.files import written_in_place
from data_exchange_center.recipes import NAME
from data_exchange_center.steps import StepError
from extras.events.log import LOG_EVENT, LOG_FORGET, event_log_key
from offline.feedback import (
    BEGINNING,
    SCHEMA,
    Position,
    files_of,
    read_file,
    span_of,
)

BATCH: Final = 10_000  # entries of a file, at most
_LOG: Final = re.compile(rf"ml:log:({NAME}):\{{\d+\}}")


class Entry(NamedTuple):
    """An entry of the log; ``event=None``: the user was forgotten, and all events before it are gone."""

    position: Position
    userid: OwnId
    event: Event | None


class EventParts:
    """The files of all partitions, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock: one writer at a time, others wait. The lock of a killed process is released."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def last(self, partition: int) -> Position:
        """Position of the last entry that was read from a partition."""
        return max(
            (span_of(path)[1] for path in self.files(partition)), default=BEGINNING
        )

    def files(self, partition: int | None = None) -> list[Path]:
        """Files of one partition or of all, in the order of the log."""
        return files_of(self.folder, partition)

    def append(self, partition: int, entries: Sequence[Entry]) -> None:
        """Write a partition's next entries, and delete earlier events of users that they forget.

        Retrying after a failure is safe: the new file is written last.
        """
        path = self.path(partition, self.last(partition), entries[-1].position)
        forgotten = {
            str(entry.userid): entry.position
            for entry in entries
            if entry.event is None
        }
        for each in self.files(partition) if forgotten else ():
            table = read_file(each)
            gone = pc.is_in(table["userid"], pa.array(forgotten, pa.string()))
            if pc.any(gone).as_py():
                self._write(each, table.filter(pc.invert(gone)))
        kept = [
            entry
            for entry in entries
            if entry.position >= forgotten.get(str(entry.userid), BEGINNING)
        ]
        self._write(path, pa.Table.from_pylist([_row(entry) for entry in kept], SCHEMA))

    def path(self, partition: int, after: Position, up_to: Position) -> Path:
        """File of a range of the log."""
        (from_ms, from_count), (to_ms, to_count) = after, up_to
        name = f"{partition:02d}-{from_ms:015d}-{from_count:09d}-{to_ms:015d}-{to_count:09d}.parquet"
        return self.folder / name

    def _write(self, path: Path, table: pa.Table) -> None:
        with written_in_place(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")


def _row(entry: Entry) -> dict[str, Any]:
    event, (acknowledged_ms, sequence) = entry.event, entry.position
    row: dict[str, Any] = {
        "userid": str(entry.userid),
        "acknowledged_ms": acknowledged_ms,
        "sequence": sequence,
        "timestamp": 0,
    }
    if event is not None:
        row["itemid"] = str(event.itemid)
        for name in ("eventid", "type", "value", "timestamp", "recommendation"):
            row[name] = getattr(event, name)
    return row


# ------------------------------------------------------------------------------------------------ the log in Redis


def entry_of(key: str, raw: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    """Parse an entry of a log in Redis. Raises StepError for one that cannot be read."""
    position = position_of(raw)
    try:
        if (forgotten := fields.get(LOG_FORGET.encode())) is not None:
            return Entry(position, json.loads(forgotten), None)
        event = Event.unpack(fields[LOG_EVENT.encode()])
    except (KeyError, TypeError, ValueError) as error:
        raise StepError(
            f"entry {raw.decode()} of {key} in Redis is no event ({error}). It was written by another version or by "
            f"hand: take it out with `XDEL {key} {raw.decode()}` and run this step again."
        ) from error
    return Entry(position, event.userid, event)


def logged_datasets(client: redis.Redis) -> list[str]:
    """The data sets that have a log, by their `Dataset.base_name`."""
    keys = client.scan_iter("ml:log:*", count=5_000)
    # a name becomes a path: others are left out
    found = (_LOG.fullmatch(key.decode(errors="replace")) for key in keys)
    return sorted({match.group(1) for match in found if match})


def bring(
    client: redis.Redis, dataset: str, parts: EventParts, batch: int = BATCH
) -> tuple[int, int]:
    """Write what is new in a data set's log to ``parts``. Raises StepError for an entry that cannot be read.

    Returns how many events are new, and how many users were forgotten.
    """
    events = forgotten = 0
    with parts.locked():
        for partition in range(wire.EVENT_PARTITIONS):
            key = event_log_key(dataset, partition)
            while True:
                after = f"({_text(parts.last(partition))}"
                found: Any = client.xrange(key, min=after, count=batch)
                if not found:
                    break
                entries = [entry_of(key, raw, fields) for raw, fields in found]
                parts.append(partition, entries)
                gone = sum(entry.event is None for entry in entries)
                events += len(entries) - gone
                forgotten += gone
    return events, forgotten


def _text(position: Position) -> str:
    """Id of an entry: inverse of `position_of`."""
    return f"{position[0]}-{position[1]}"
