"""From the cells of a column to ids, times and numbers; the first that is none is named by its row."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_exchange_center.own_ids import MAX_BYTES
from data_exchange_center.steps import StepError
from offline.ingestion.declaration import TimeUnit
from offline.ingestion.tables import Rows
from offline.ingestion.times import LATEST, PER_SECOND, latest_microsecond, likely_unit

_EXPECTED: Final = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "iso": "an ISO 8601 time like 2024-05-31T17:45:00Z",
}


class Cells:
    """One column of a batch, which begins at ``first_row`` of its table."""

    def __init__(self, rows: Rows, column: str, first_row: int, values: pa.Array) -> None:
        self.rows, self.column, self.first_row = rows, column, first_row
        self.values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values

    def ids(self) -> pa.Array:
        """Strings. Raises StepError for an empty or a very long one."""
        texts = self.texts()
        self._expect(pc.greater(pc.binary_length(pc.fill_null(texts, "")), 0), "an id")
        short = pc.less_equal(pc.binary_length(texts), MAX_BYTES)
        self._expect(short, f"an id of at most {MAX_BYTES} bytes")
        return texts

    def texts(self) -> pa.Array:
        """Strings, null where there is nothing; whole numbers without a point."""
        values = self.values
        try:
            if pa.types.is_floating(values.type):
                values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
                whole = values.cast(pa.int64(), safe=False)
                is_whole = pc.equal(whole.cast(values.type, safe=False), values)
                return pc.if_else(is_whole, whole.cast(pa.string()), values.cast(pa.string()))
            return values.cast(pa.string())
        except pa.ArrowException as error:
            raise StepError(
                f"{self.rows.name}, column {self.column!r}: {values.type} cannot be read as text."
            ) from error

    def numbers(self, expected: str = "a number") -> NDArray[np.float64]:
        """Floats, NaN where there is nothing. Raises StepError for what is no finite number."""
        numbers = self._numeric().astype(np.float64)
        given = pc.fill_null(pc.not_equal(self.texts(), ""), False).to_numpy(zero_copy_only=False)
        self._expect(~given | np.isfinite(numbers), expected)
        return numbers

    def microseconds(self, unit: TimeUnit) -> NDArray[np.int64]:
        """Since 1970-01-01 UTC. Raises StepError for what is no time in this unit, or not from 1970 to now."""
        micro = self._microseconds(unit)
        self._expect(micro >= 0, "a time since 1970")
        self._expect(micro <= latest_microsecond(), "a time that is not in the future")
        return micro

    def _microseconds(self, unit: TimeUnit) -> NDArray[np.int64]:
        if pa.types.is_timestamp(self.values.type) or pa.types.is_date(self.values.type):
            self._expect(self.values.is_valid(), "a time")
            zone = getattr(self.values.type, "tz", None)
            seconds, exact = (
                np.asarray(self.values.cast(pa.timestamp(to, zone), safe=False).cast(pa.int64())) for to in ("s", "us")
            )
            within = np.clip(seconds, -1, LATEST)  # beyond, microseconds may have run over
            return np.where(within == seconds, exact, within * 1_000_000)
        if unit == "iso":
            stamps = pd.to_datetime(pd.Series(self.texts().to_pandas()), errors="coerce", format="ISO8601", utc=True)
            self._expect_in_unit(stamps.notna().to_numpy(), unit)
            return np.asarray(stamps.dt.as_unit("us").astype("int64"), dtype=np.int64)
        times, per_second = self._numeric(), PER_SECOND[unit]
        with np.errstate(invalid="ignore"):
            self._expect_in_unit((times >= 0) & (times <= LATEST * per_second), unit)
        micro: NDArray[np.int64] = np.floor(times * (1_000_000 // per_second)).astype(np.int64)
        return micro

    def _expect_in_unit(self, good: NDArray[np.bool_], unit: TimeUnit) -> None:
        if not good.all():
            row = int(good.argmin())
            likely = likely_unit(str(self.values[row].as_py()))
            hint = f', which time_unit = "{likely}" would fit' if likely else ""
            self.refuse(row, f'{_EXPECTED[unit]} (time_unit = "{unit}")', hint)

    def _numeric(self) -> NDArray[Any]:
        """Eight bytes each, as microseconds need them; a decimal of fewer is the one that people would write."""
        whole = pa.types.is_integer(self.values.type) and not self.values.null_count
        if whole or pa.types.is_floating(self.values.type):
            numbers = self.values.to_numpy(zero_copy_only=False)
            wide = np.asarray(numbers, dtype=np.result_type(numbers.dtype, np.int64))
            if numbers.dtype == np.float32:
                wide = np.where(wide == np.rint(wide), wide, numbers.astype(str).astype(np.float64))
            return wide
        return np.asarray(pd.to_numeric(pd.Series(self.texts().to_pandas(), dtype=object), errors="coerce"))

    def _expect(self, good: Any, expected: str) -> None:
        mask = np.asarray(good.to_numpy(zero_copy_only=False) if isinstance(good, pa.Array) else good, dtype=bool)
        if not mask.all():
            row = int(mask.argmin())
            self.refuse(row, expected)

    def refuse(self, row: int, expected: str, hint: str = "") -> NoReturn:
        """Raise StepError for a row of this batch. ``hint``: follows what was found."""
        found = self.texts()[row].as_py()
        shown = "nothing" if found in (None, "") else repr(found[:60])
        where = self.rows.where(self.first_row + row)
        raise StepError(f"{where}, column {self.column!r}: {expected} expected, found {shown}{hint}.")
