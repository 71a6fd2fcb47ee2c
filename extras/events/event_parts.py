"""Read the log of events in Redis and keep it as Parquet for the next training, each event exactly once.

Each partition of the log is a series of files, each named by the position of its last entry. A file appears whole or
not at all, so the newest name is the partition's offset; no other record could contradict it. Killed at any moment, or
after files were lost, a consumer resumes where its folder ends. Several consumers, each with its own folder, can read
the same log.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import redis

from data_exchange_center import artifacts, wire
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.dataset import OwnId
from data_exchange_center.files import written_in_place
from data_exchange_center.steps import StepError
from extras.events.events import Event, position_of
from extras.events.log import LOG_EVENT, LOG_FORGET, event_log_key

Position = tuple[int, int]  # of an entry in its stream: milliseconds when it was acknowledged, and a count
BEGINNING: Final[Position] = (0, 0)
BATCH: Final = 10_000  # entries of a file, at most
_LOG: Final = re.compile(rb"ml:log:([^{]+):\{\d+\}")
SCHEMA: Final = pa.schema(list(artifacts.EVENTS.columns.items()))


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
        for path in reversed(self.files(partition)):
            _, milliseconds, count = path.stem.split("-")
            return int(milliseconds), int(count)
        return BEGINNING

    def append(self, partition: int, entries: Sequence[Entry]) -> None:
        """Write the next entries of a partition, and delete earlier events of users whom they forget.

        Retrying after a failure is safe: the new file is written last.
        """
        forgotten = {str(entry.userid): entry.position for entry in entries if entry.event is None}
        for path in self.files(partition) if forgotten else ():
            table = self._read(path)
            gone = pc.is_in(table["userid"], pa.array(forgotten, pa.string()))
            if pc.any(gone).as_py():
                self._write(path, table.filter(pc.invert(gone)))
        kept = [entry for entry in entries if entry.position >= forgotten.get(str(entry.userid), BEGINNING)]
        milliseconds, count = entries[-1].position
        path = self.folder / f"{partition:02d}-{milliseconds:015d}-{count:09d}.parquet"
        self._write(path, pa.Table.from_pylist([_row(entry) for entry in kept], SCHEMA))

    def read(self) -> pd.DataFrame:
        """All events as `artifacts.EVENTS`, by time of acknowledgement. Raises ArtifactError for a damaged file."""
        tables = [self._read(path) for path in self.files()]
        order = [(name, "ascending") for name in ("acknowledged_ms", "sequence")]
        table = pa.concat_tables([SCHEMA.empty_table(), *tables]).sort_by(order)
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def files(self, partition: int | None = None) -> list[Path]:
        """Files of one partition or of all, in the order of the log."""
        return sorted(self.folder.glob("*.parquet" if partition is None else f"{partition:02d}-*.parquet"))

    def _read(self, path: Path) -> pa.Table:
        try:
            return pq.read_table(path, schema=SCHEMA)
        except (pa.ArrowException, OSError) as error:
            raise ArtifactError(
                f"{path} cannot be read ({error}). Delete it and all later files of {path.name[:2]}-*.parquet there; "
                "`make events` reads them from the log again."
            ) from error

    def _write(self, path: Path, table: pa.Table) -> None:
        with written_in_place(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")


def _row(entry: Entry) -> dict[str, Any]:
    event, (acknowledged_ms, sequence) = entry.event, entry.position
    row = {"userid": str(entry.userid), "acknowledged_ms": acknowledged_ms, "sequence": sequence}
    if event is None:
        return row | {"timestamp": 0}
    names: Iterable[str] = ("eventid", "type", "value", "timestamp", "recommendation")
    return row | {"itemid": str(event.itemid)} | {name: getattr(event, name) for name in names}


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
    found = (_LOG.fullmatch(key) for key in client.scan_iter("ml:log:*", count=5_000))
    return sorted({match.group(1).decode() for match in found if match})


def bring(client: redis.Redis, dataset: str, parts: EventParts, batch: int = BATCH) -> tuple[int, int]:
    """Write what is new in a data set's log to ``parts``. Raises StepError for an entry that cannot be read.

    Returns how many events are new, and how many users were forgotten.
    """
    events = forgotten = 0
    with parts.locked():
        for partition in range(wire.EVENT_PARTITIONS):
            key = event_log_key(dataset, partition)
            while entries := _next(client, key, parts.last(partition), batch):
                parts.append(partition, entries)
                gone = sum(entry.event is None for entry in entries)
                events, forgotten = events + len(entries) - gone, forgotten + gone
    return events, forgotten


def _next(client: redis.Redis, key: str, last: Position, batch: int) -> list[Entry]:
    milliseconds, count = last
    found: Any = client.xrange(key, min=f"({milliseconds}-{count}", count=batch)
    return [entry_of(key, raw, fields) for raw, fields in found]
