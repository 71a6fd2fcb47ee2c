"""Parse times of events: numbers in a unit since 1970, ISO 8601, or a date format that fits the whole column.

``11/1/2000`` alone may be in January or November. The column mostly decides: a day above twelve rules out one order of
day and month. If both orders fit, time_format in dataset.toml decides.
"""

from __future__ import annotations

import time
from itertools import product
from typing import Final

from data_exchange_center.steps import StepError
from extras.own_data.declaration import DECLARATION, InteractionsTable, TimeUnit
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
_SAMPLE: Final = 1_000  # distinct times of the column, from which a format is detected
_DATES: Final = (
    *(
        "%m/%d/%Y",
        "%d/%m/%Y",
        "%m/%d/%y",
        "%d/%m/%y",
        "%m-%d-%Y",
        "%d-%m-%Y",
        "%d.%m.%Y",
        "%d.%m.%y",
        "%Y.%m.%d",
    ),
    *(
        "%Y%m%d",
        "%Y-%m",
        "%d %b %Y",
        "%d %B %Y",
        "%b %d, %Y",
        "%B %d, %Y",
        "%d-%b-%Y",
        "%a, %d %b %Y",
        "%a %b %d %Y",
    ),
)
_CLOCKS: Final = (
    "",
    "%H:%M",
    "%H:%M:%S",
    "%H:%M:%S.%f",
    "%I:%M %p",
    "%I:%M:%S %p",
    "%H",
)
_ZONES: Final = ("", "%z", " %z", " %Z")
_FORMATS: Final = (
    *_DATES,
    *(
        f"{day}{between}{clock}{zone}"
        for day, between, clock, zone in product(_DATES, " T", _CLOCKS[1:], _ZONES)
    ),
    *(f"%Y-%m-%dT%H{zone}" for zone in _ZONES),
)


class AmbiguousTimesError(StepError):
    """Times that can be read by two formats. Attributes: ``formats``."""

    def __init__(self, message: str, formats: tuple[str, str]) -> None:
        self.formats = formats
        super().__init__(message)


def microseconds(events: Table, declared: InteractionsTable) -> str:
    """Return the SQL expression that converts the column ``time`` to microseconds since 1970 (UTC).

    Raises StepError for the first cell that is no time, or not from 1970 to now.
    """
    unit: TimeUnit = "iso" if events.times else declared.time_unit
    if declared.time_format is not None and not events.times:
        made = _by_format(declared.time_format)
        events.expect(
            f"{made} IS NOT NULL",
            "time",
            f'a time like time_format = "{declared.time_format}"',
        )
    elif unit == "iso":
        made = _written_out(events)
    else:
        per_second = PER_SECOND[unit]
        number = "TRY_CAST(time AS DOUBLE)"
        place = events.first(
            f"({number} BETWEEN 0 AND {LATEST * per_second}) IS NOT TRUE"
        )
        if place is not None:
            _refuse(events, place, unit)
        made = f"CAST(floor({number} * {1_000_000 // per_second}) AS BIGINT)"
    events.expect(f"{made} >= 0", "time", "a time since 1970")
    events.expect(
        f"{made} <= {latest_microsecond()}", "time", "a time that is not in the future"
    )
    return made


def latest_microsecond() -> int:
    """The latest plausible time: now, and `TOLERANCE` for clocks that are ahead."""
    return (int(time.time()) + TOLERANCE) * 1_000_000


def _refuse(events: Table, place: tuple[int, int], unit: TimeUnit) -> None:
    likely = likely_unit(events, events.cell(place, "time"))
    hint = f', which time_unit = "{likely}" would fit' if likely else ""
    events.refuse(place, "time", f'{_EXPECTED[unit]} (time_unit = "{unit}")', hint)


def _written_out(events: Table) -> str:
    """SQL expression for times in ISO 8601 if all are, else in the one format that fits them all."""
    iso = "epoch_us(TRY_CAST(CASE WHEN regexp_matches(time, '^\\s*[0-9+-]') THEN time END AS TIMESTAMPTZ))"
    wrong = events.first(f"{iso} IS NULL")
    if wrong is None:
        return iso
    some = f"SELECT DISTINCT time FROM {events.name} WHERE time IS NOT NULL ORDER BY hash(time) LIMIT {_SAMPLE}"
    counts = ", ".join(
        f"count_if({made} >= 0)" for made in (*map(_by_format, _FORMATS), iso)
    )
    row = (
        events.connection.execute(f"SELECT {counts}, count(*) FROM ({some})").fetchone()
        or ()
    )
    *fits, isos, size = (count or 0 for count in row)
    best = max(fits, default=0)
    if not size or best <= max(isos, size // 2):
        _refuse(events, wrong, "iso")
    likely = [form for form, fit in zip(_FORMATS, fits, strict=True) if fit == best]
    fitting = [
        form
        for form in likely
        if events.first(f"({_by_format(form)} >= 0) IS NOT TRUE") is None
    ]
    if not fitting:
        events.expect(
            f"{_by_format(likely[0])} >= 0",
            "time",
            f'a time like most others, "{likely[0]}",',
        )
    one = _by_format(fitting[0])
    for other in fitting[1:]:
        if (place := events.first(f"{one} <> {_by_format(other)}")) is not None:
            cell = events.cell(place, "time")
            raise AmbiguousTimesError(
                f"{events.at(place, 'time')}: {cell!r} and all other times may be {fitting[0]!r} or "
                f'{other!r}: say which with time_format = "..." in [interactions] of {DECLARATION}.',
                (fitting[0], other),
            )
    return one


def _by_format(form: str) -> str:
    return f"epoch_us(try_strptime(time, {quoted(form)}))"


def likely_unit(events: Table, text: str) -> TimeUnit | None:
    """The unit in which ``text`` is a time, a number one from 1990 to now; None where there is none."""
    number = events.one("SELECT TRY_CAST(? AS DOUBLE)", text)
    if number is None:
        return (
            "iso"
            if events.one("SELECT TRY_CAST(? AS TIMESTAMPTZ)", text) is not None
            else None
        )
    latest = latest_microsecond() // 1_000_000
    fits = (
        unit
        for unit, per_second in PER_SECOND.items()
        if PLAUSIBLE <= number / per_second <= latest
    )
    return next(fits, None)


def expect_recent(events: Table, newest: int, declared: InteractionsTable) -> None:
    """Raise StepError if even the newest time, in seconds, is implausibly old, as if read in too fine a unit."""
    unit = declared.time_unit
    if newest >= PLAUSIBLE:
        return
    likely = (
        likely_unit(events, str(newest * PER_SECOND[unit]))
        if unit in PER_SECOND
        else None
    )
    meant = f': is time_unit = "{likely}" meant?' if likely else "; is time_unit right?"
    year = time.gmtime(newest).tm_year
    raise StepError(
        f'{events.label}, column {declared.time!r}: the newest time is in {year}, read as time_unit = "{unit}"{meant}'
    )
