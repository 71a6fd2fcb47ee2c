"""Parse times of events: numbers in a unit since 1970, ISO 8601, or the declared ``time_format``."""

from __future__ import annotations

import time
from typing import Final

import duckdb

from data_exchange_center.steps import StepError
from extras.own_data.declaration import InteractionsTable, TimeUnit
from extras.own_data.tables import Table, quoted

LATEST: Final = 99_999_999_999  # seconds: the year 5138; what is later is in a finer unit than declared
TOLERANCE: Final = 86_400  # seconds that a clock may be ahead of this machine's
PLAUSIBLE: Final = 631_152_000  # seconds: 1990; a data set whose newest event is older is in a coarser unit
PER_SECOND: Final[dict[TimeUnit, int]] = {"s": 1, "ms": 1_000, "us": 1_000_000}
_EXPECTED: Final = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "iso": "an ISO 8601 time like 2024-05-31T17:45:00Z",
}


def microseconds(events: Table, declared: InteractionsTable) -> str:
    """Return the SQL expression that converts the column ``time`` to microseconds since 1970 (UTC).

    Raises StepError for the first cell that is no time, or not from 1970 to now.
    """
    unit: TimeUnit = "iso" if events.times else declared.time_unit
    number = "TRY_CAST(time AS DOUBLE)"
    if declared.time_format is not None and not events.times:
        made = f"epoch_us(try_strptime(time, {quoted(declared.time_format)}))"
        events.expect(
            f"{made} IS NOT NULL",
            "time",
            f'a time like time_format = "{declared.time_format}"',
        )
    elif unit == "iso":
        # the first mark is checked, as DuckDB also casts 'epoch' and 'infinity'
        made = "epoch_us(TRY_CAST(CASE WHEN regexp_matches(time, '^\\s*[0-9+-]') THEN time END AS TIMESTAMPTZ))"
        _expect(events, f"{made} IS NOT NULL", unit)
    else:
        per_second = PER_SECOND[unit]
        made = f"CAST(floor({number} * {1_000_000 // per_second}) AS BIGINT)"
        _expect(events, f"{number} BETWEEN 0 AND {LATEST * per_second}", unit)
    events.expect(f"{made} >= 0", "time", "a time since 1970")
    events.expect(
        f"{made} <= {_latest() * 1_000_000}", "time", "a time that is not in the future"
    )
    return made


def _expect(events: Table, condition: str, unit: TimeUnit) -> None:
    """Raise StepError for the first time that is not in the unit, with what would fit instead."""
    place = events.first(f"({condition}) IS NOT TRUE")
    if place is None:
        return
    likely = likely_unit(events.connection, events.cell(place, "time"))
    hint = ""
    if likely is not None:
        hint = f', which time_unit = "{likely}" would fit'
    elif unit == "iso":
        hint = '; say how times are written, as in time_format = "%d/%m/%Y %H:%M"'
    events.refuse(place, "time", f'{_EXPECTED[unit]} (time_unit = "{unit}")', hint)


def likely_unit(connection: duckdb.DuckDBPyConnection, text: str) -> TimeUnit | None:
    """The unit in which ``text`` is a time, a number one from 1990 to now; None where there is none."""
    casts = "SELECT TRY_CAST($1 AS DOUBLE), TRY_CAST($1 AS TIMESTAMPTZ) IS NOT NULL"
    number, is_iso = connection.execute(casts, [text]).fetchone() or (None, False)
    if number is None:
        return "iso" if is_iso else None
    for unit, per_second in PER_SECOND.items():
        if PLAUSIBLE <= number / per_second <= _latest():
            return unit
    return None


def _latest() -> int:
    """The latest plausible time in seconds: now, and `TOLERANCE` for clocks that are ahead."""
    return int(time.time()) + TOLERANCE


def expect_recent(events: Table, newest: int, declared: InteractionsTable) -> None:
    """Raise StepError if even the newest time, in seconds, is implausibly old, as if read in too fine a unit."""
    if newest >= PLAUSIBLE:
        return
    unit, meant = declared.time_unit, "; is time_unit right?"
    if unit in PER_SECOND:
        likely = likely_unit(events.connection, str(newest * PER_SECOND[unit]))
        meant = f': is time_unit = "{likely}" meant?' if likely else meant
    year = time.gmtime(newest).tm_year
    raise StepError(
        f'{events.label}, column {declared.time!r}: the newest time is in {year}, read as time_unit = "{unit}"{meant}'
    )
