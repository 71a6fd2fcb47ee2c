"""The expansion, written: Parquet parts and a ``dataset.toml``, one part for each copy of the users and of the items.

The source is read again for each part, batch by batch, so memory holds the source's ids and one batch, however large
the expansion is. User u of copy i has the number i * users + u + 1, item v of copy j j * items + v + 1, u and v in the
order in which the source names them. Times, values and attributes are the source's own cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_exchange_center.columns import Columns
from data_exchange_center.files import folder_written_in_place
from data_exchange_center.own_ids import MAX_INTEGER
from data_exchange_center.progress import progress
from data_exchange_center.steps import StepError
from offline.ingestion.cells import Cells
from offline.ingestion.declaration import DECLARATION, INTERACTIONS, ITEMS, USERS, ItemsTable, UsersTable
from offline.ingestion.events import read_events
from offline.ingestion.identifiers import Register
from offline.ingestion.sources import Source
from offline.ingestion.tables import Rows
from past_one_machine.synthesis import declared
from past_one_machine.synthesis.kronecker import Floats, Ints, coarse, copies

SEED: Final = 20


@dataclass(frozen=True)
class Factors:
    """How many copies of the users, and with them of the events, and how many of the items."""

    users: int
    items: int

    @classmethod
    def of(cls, users: int, items: int | None = None) -> Factors:
        """``items``: left out, the root of ``users``: a data set that has grown has more users, and some more items.

        Raises StepError for what is no expansion.
        """
        if users < 2:
            raise StepError(f"factor={users}: at least 2 is needed, a whole number; factor=1 is the data set itself.")
        items = round(users**0.5) if items is None else items
        if items < 1:
            raise StepError(f"items={items}: at least 1 is needed, a whole number.")
        return cls(users, items)


def expand(source: Source, factors: Factors, folder: Path, name: str, seed: int = SEED) -> int:
    """Write the expansion into ``folder``, which appears when it is whole. The number of its events.

    Raises StepError for a source that is not as declared or that cannot be expanded so far, and for a folder that is
    there already.
    """
    if folder.exists():
        raise StepError(f"{folder} is there already: name another folder=, or remove it.")
    known = _Known.of(source)
    known.expect_room(factors)
    with folder_written_in_place(folder) as temporary:
        shares = coarse(known.pairs, factors.users, factors.items)
        events = sum(
            _write(temporary / declared.part(INTERACTIONS, copy), known.events(copy, shares[copy], seed))
            for copy in progress(range(factors.users), "events", unit="part")
        )
        for table, of_table, times, register in (
            (USERS, source.declaration.users, factors.users, known.users),
            (ITEMS, source.declaration.items, factors.items, known.items),
        ):
            if of_table is not None:
                for copy in range(times):
                    rows = _listed(source.tables[table], of_table, copy, len(register))
                    _write(temporary / declared.part(table, copy), rows)
        text = declared.text(declared.expanded(source.declaration, name))
        (temporary / DECLARATION).write_text(text, encoding="utf-8")
    return events


@dataclass(frozen=True)
class _Known:
    """A source and the places of its ids."""

    source: Source
    users: Register
    items: Register

    @classmethod
    def of(cls, source: Source) -> _Known:
        """Raises StepError where the events are not as declared."""
        users, items = Register(), Register()
        listed: list[str | None] = []
        for table, of_table, register in (
            (USERS, source.declaration.users, users),
            (ITEMS, source.declaration.items, items),
        ):
            listed.append(source.tables[table].name if of_table is not None else None)
            if of_table is not None:
                for batch in source.tables[table].batches([of_table.id]):
                    register.enter(Cells(source.tables[table], of_table.id, 0, batch.column(0)).ids())
        read_events(source.tables[INTERACTIONS], source.declaration.interactions, users, items, *listed)
        return cls(source, users, items)

    def expect_room(self, factors: Factors) -> None:
        """Raise StepError where the source is too small for the factors, or its ids would run over."""
        if factors.items > len(self.items):
            raise StepError(f"items={factors.items}: the data set has {len(self.items):,} items, and at most so many.")
        for what, times, register in (("factor", factors.users, self.users), ("items", factors.items, self.items)):
            if times * len(register) > MAX_INTEGER:
                raise StepError(f"{what}={times}: at most {MAX_INTEGER // len(register):,}, or ids run over.")

    def pairs(self) -> Iterator[tuple[Ints, Ints]]:
        """Places of users and items of all events, batch by batch."""
        of = self.source.declaration.interactions
        for batch in self.source.tables[INTERACTIONS].batches(_once([of.user, of.item])):
            yield self._places(batch)

    def events(self, copy: int, shares: Floats, seed: int) -> Iterator[pa.RecordBatch]:
        """The events of a copy of the users, in the order of the source; whatever the batches, the same."""
        random = np.random.default_rng([seed, copy])
        of = self.source.declaration.interactions
        cells = {Columns.TIMESTAMP: of.time} | ({} if of.value is None else {declared.VALUE: of.value})
        for batch in self.source.tables[INTERACTIONS].batches(_once([of.user, of.item, *cells.values()])):
            users, items = self._places(batch)
            items = copies(shares, len(items), random) * len(self.items) + items + 1
            columns: dict[str, pa.Array] = {
                Columns.USER: pa.array(copy * len(self.users) + users + 1, pa.int64()),
                Columns.ITEM: pa.array(items, pa.int64()),
            }
            yield pa.record_batch(columns | {name: batch.column(column) for name, column in cells.items()})

    def _places(self, batch: pa.RecordBatch) -> tuple[Ints, Ints]:
        of, rows = self.source.declaration.interactions, self.source.tables[INTERACTIONS]
        users, items = (Cells(rows, column, 0, batch.column(column)).ids() for column in (of.user, of.item))
        return self.users.enter(users), self.items.enter(items)


def _listed(rows: Rows, of_table: UsersTable | ItemsTable, copy: int, size: int) -> Iterator[pa.RecordBatch]:
    """A table of users or items for one copy of them. A copied item's title says which copy it is."""
    title = of_table.title if isinstance(of_table, ItemsTable) else None
    key = Columns.ITEM if isinstance(of_table, ItemsTable) else Columns.USER
    cells = {name: spec.column or name for name, spec in of_table.attributes.items()}
    first = copy * size + 1
    for batch in rows.batches(_once([of_table.id, *([title] if title else []), *cells.values()])):
        columns: dict[str, pa.Array] = {key: pa.array(np.arange(first, first + len(batch)), pa.int64())}
        if title is not None:
            titles = Cells(rows, title, 0, batch.column(title)).texts()
            columns[Columns.TITLE] = _numbered(titles, copy)
        yield pa.record_batch(columns | {name: batch.column(column) for name, column in cells.items()})
        first += len(batch)


def _numbered(titles: pa.Array, copy: int) -> pa.Array:
    """``Toy Story`` -> ``Toy Story, copy 2``; the first is as it was, and what has no title gets none."""
    if copy == 0:
        return titles
    return pa.array([f"{title}, copy {copy + 1}" if title else None for title in titles.to_pylist()], pa.string())


def _once(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _write(path: Path, batches: Iterator[pa.RecordBatch]) -> int:
    """How many rows were written."""
    rows, writer = 0, None
    try:
        for batch in batches:
            writer = writer or pq.ParquetWriter(path, batch.schema, compression="zstd")
            writer.write_batch(batch)
            rows += batch.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows
