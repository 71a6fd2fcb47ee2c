"""The interactions of a declared data set, read in batches: what is kept of each is 24 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.steps import StepError
from offline.ingestion.cells import Cells
from offline.ingestion.declaration import InteractionsTable
from offline.ingestion.identifiers import Register
from offline.ingestion.tables import Rows

MOST_OF_ONE_USER: Final = 200_000  # events: more are no person's
MOST: Final = 200_000_000  # events: 5 GB


@dataclass(frozen=True, eq=False)
class Events:
    """Arrays by event, in file order.

    Attributes:
        users, items: places in their registers.
        times: microseconds.
        values: None where events have none.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    values: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.users)


def read_events(
    rows: Rows,
    declared: InteractionsTable,
    users: Register,
    items: Register,
    users_file: str | None,
    items_file: str | None,
) -> Events:
    """All of them; ids are entered into the registers.

    Args:
        users_file, items_file: the table that lists all ids, which are in its register already; None: there is none.

    Raises StepError for a cell that is not as declared, an id that is not listed, no events, too many of one user.
    """
    value = [] if declared.value is None else [declared.value]
    parts: list[list[NDArray[np.generic]]] = [[], [], [], []]
    counts = np.zeros(0, dtype=np.int64)
    first = 0
    for batch in rows.batches([declared.user, declared.item, declared.time, *value]):
        cells = [Cells(rows, name, first, batch.column(at)) for at, name in enumerate(batch.schema.names)]
        of_user, of_item, of_time, *of_value = cells
        known = _entered(of_user, users, users_file)
        counts = _counted(counts, known, len(users))
        if counts.max(initial=0) > MOST_OF_ONE_USER:
            user = users.own_ids()[int(counts.argmax())]
            raise too_many(rows.name, declared.user, user)
        first += batch.num_rows
        if first > MOST:
            raise StepError(
                f"{rows.name} holds more than {MOST:,} events, too many for one machine: take the newest, a sample of "
                "users, or RECSYS_ENGINE=spark."
            )
        parts[0].append(known.astype(np.int32))
        parts[1].append(_entered(of_item, items, items_file).astype(np.int32))
        parts[2].append(of_time.microseconds(declared.time_unit))
        parts[3] += [values_of(each, declared.levels) for each in of_value]
    if not first:
        raise no_events(rows.name)
    joined = [np.concatenate(part) if part else None for part in parts]
    return Events(*joined)  # type: ignore[arg-type]


def too_many(file: str, column: str, user: str) -> StepError:
    """The error for a user with more than `MOST_OF_ONE_USER` events."""
    return StepError(
        f"{file}: {column} {user!r} has more than {MOST_OF_ONE_USER:,} events, which are no person's; "
        "leave this user out."
    )


def no_events(file: str) -> StepError:
    """The error for a table without events."""
    return StepError(f"{file} holds no row under its header: a row an event is expected.")


def _entered(cells: Cells, register: Register, listed_in: str | None) -> NDArray[np.int64]:
    known = len(register)
    places = register.enter(cells.ids())
    if listed_in is not None and len(register) > known:
        row = int((places >= known).argmax())
        own_id, there = register.own_ids()[places[row]], register.own_ids()[:known]
        refuse_unlisted(cells, row, listed_in, next((each for each in there if each.strip() == own_id.strip()), None))
    return places


def refuse_unlisted(cells: Cells, row: int, listed_in: str, blank: str | None) -> NoReturn:
    """Raise StepError for an id that no table lists. ``blank``: one that is listed and differs in blanks alone."""
    hint = "" if blank is None else f"; {blank!r} is listed, and blanks count"
    cells.refuse(row, f"an id that is listed in {listed_in}", hint)


def values_of(cells: Cells, levels: Sequence[float] | None) -> NDArray[np.float64]:
    """Numbers. Raises StepError for a cell that is none, or none of the declared levels."""
    values = cells.numbers()
    wrong = np.isnan(values) if levels is None else ~np.isin(values, levels)
    if wrong.any():
        expected = "a number" if levels is None else f"one of {', '.join(f'{level:g}' for level in levels)}"
        cells.refuse(int(wrong.argmax()), expected)
    return values


def _counted(counts: NDArray[np.int64], places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    more = np.bincount(places, minlength=size)
    more[: len(counts)] += counts
    return more
