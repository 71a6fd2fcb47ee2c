"""The log of events as Parquet: feedback collected by servers, kept for the next training.

Each partition of the log is a row of files, named by the place of the last entry that is in them. A file appears whole
or not at all, so the newest name says how far the partition has been read: there is no other record that could differ
from it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.files import written_in_place

Position = tuple[int, int]  # of an entry in its stream: milliseconds when it was acknowledged, and a count
BEGINNING: Final[Position] = (0, 0)
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
        """One writer at a time; others wait. The lock of a killed process is free."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def last(self, partition: int) -> Position:
        """The place of the last entry that was read of a partition."""
        files = self.files(partition)
        return _last(files[-1]) if files else BEGINNING

    def append(self, partition: int, entries: Sequence[Entry]) -> None:
        """Keep the next entries of a partition, in their order, and drop what they say is to be forgotten.

        After a failure in the middle it is right to do the same again: the new file comes last.
        """
        forgotten = {str(entry.userid): entry.position for entry in entries if entry.event is None}
        if forgotten:
            self._forget(partition, forgotten)
        kept = [entry for entry in entries if entry.position >= forgotten.get(str(entry.userid), BEGINNING)]
        milliseconds, count = entries[-1].position
        self._write(
            self.folder / f"{partition:02d}-{milliseconds:015d}-{count:09d}.parquet",
            pa.Table.from_pylist([_row(entry) for entry in kept], SCHEMA),
        )

    def read(self) -> pd.DataFrame:
        """All of it as `artifacts.EVENTS`, by the time of acknowledgement. Raises ArtifactError for a damaged file."""
        tables = [self._read(path) for path in self.files()]
        order = [(name, "ascending") for name in ("acknowledged_ms", "sequence")]
        table = pa.concat_tables([SCHEMA.empty_table(), *tables]).sort_by(order)
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def _forget(self, partition: int, users: Collection[str]) -> None:
        for path in self.files(partition):
            table = self._read(path)
            gone = pc.is_in(table["userid"], pa.array(users, pa.string()))
            if pc.any(gone).as_py():
                self._write(path, table.filter(pc.invert(gone)))

    def files(self, partition: int | None = None) -> list[Path]:
        """Events of a partition or of all, in the order of the log."""
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


def _last(path: Path) -> Position:
    _, milliseconds, count = path.stem.split("-")
    return int(milliseconds), int(count)


def _row(entry: Entry) -> dict[str, Any]:
    event, (acknowledged_ms, sequence) = entry.event, entry.position
    row = {"userid": str(entry.userid), "acknowledged_ms": acknowledged_ms, "sequence": sequence}
    if event is None:
        return row | {"timestamp": 0}
    names: Iterable[str] = ("eventid", "type", "value", "timestamp", "recommendation")
    return row | {"itemid": str(event.itemid)} | {name: getattr(event, name) for name in names}
