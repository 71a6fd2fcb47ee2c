"""Which times are plausible, and which unit a number is likely to be in."""

from __future__ import annotations

import time
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.steps import StepError
from offline.ingestion.declaration import TimeUnit

LATEST: Final = 99_999_999_999  # seconds: the year 5138; what is later is in a finer unit than declared
TOLERANCE: Final = 86_400  # seconds that a clock may be ahead of this machine's
PLAUSIBLE: Final = 631_152_000  # seconds: 1990; a data set whose newest event is older is in a coarser unit
PER_SECOND: Final[dict[TimeUnit, int]] = {"s": 1, "ms": 1_000, "us": 1_000_000}


def latest_microsecond() -> int:
    """Later than this is in the future, whatever the clock of who wrote it."""
    return (int(time.time()) + TOLERANCE) * 1_000_000


def likely_unit(text: str) -> TimeUnit | None:
    """The unit in which ``text`` is a time, a number one from 1990 to now; None where there is none."""
    number = pd.to_numeric(text, errors="coerce")
    if pd.isna(number):
        return None if pd.isna(pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True)) else "iso"
    latest = latest_microsecond() // 1_000_000
    fits = (unit for unit, per_second in PER_SECOND.items() if PLAUSIBLE <= number / per_second <= latest)
    return next(fits, None)


def day(seconds: float) -> str:
    """``2024-05-31``."""
    return str(np.datetime64(int(seconds), "s").astype("datetime64[D]"))


def expect_recent(seconds: NDArray[np.int64], where: str, unit: TimeUnit) -> None:
    """Raise StepError where even the newest of all times is implausibly old: a unit that is too fine makes 1970 of all.

    ``where``: file and column.
    """
    newest = int(seconds.max())
    if newest >= PLAUSIBLE:
        return
    likely = likely_unit(str(newest * PER_SECOND[unit])) if unit in PER_SECOND else None
    meant = f': is time_unit = "{likely}" meant?' if likely else "; is time_unit right?"
    raise StepError(f'{where}: the newest time is in {day(newest)[:4]}, read as time_unit = "{unit}"{meant}')
