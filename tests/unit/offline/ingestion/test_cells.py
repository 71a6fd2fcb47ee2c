"""Cells of every type that Parquet has: none is narrowed on the way, none ends in a stack trace."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data_exchange_center.steps import StepError
from offline.ingestion.cells import Cells
from offline.ingestion.declaration import TimeUnit
from offline.ingestion.tables import MadeRows

AT = 1_717_171_717  # seconds


def cells(values: pa.Array) -> Cells:
    return Cells(MadeRows("made", pa.table({"at": values})), "at", 0, values)


@pytest.mark.parametrize("kind", [pa.int32(), pa.uint32(), pa.int64(), pa.uint64(), pa.float64(), pa.string()])
def test_seconds_of_any_type_are_the_same(kind: pa.DataType) -> None:
    values = pa.array([AT, AT + 1]).cast(kind)
    assert cells(values).microseconds("s").tolist() == [AT * 10**6, (AT + 1) * 10**6]


def test_narrow_floats_lose_nothing_more() -> None:
    narrow = np.array([AT], np.float32)
    assert cells(pa.array(narrow)).microseconds("s").tolist() == [int(narrow[0]) * 10**6]


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_stamps_of_any_unit_are_the_same(unit: TimeUnit, per_second: int) -> None:
    values = pa.array([AT * per_second], pa.timestamp(unit))
    assert cells(values).microseconds("iso").tolist() == [AT * 10**6]


def test_parts_of_a_microsecond_are_dropped() -> None:
    values = pa.array([AT * 10**9 + 1_234], pa.timestamp("ns", "Asia/Tokyo"))
    assert cells(values).microseconds("iso").tolist() == [AT * 10**6 + 1]


@pytest.mark.parametrize(("sign", "message"), [(1, "a time that is not in the future"), (-1, "a time since 1970")])
def test_a_stamp_beyond_all_microseconds_is_refused(sign: int, message: str) -> None:
    beyond = sign * (2**64 // 10**6 + AT)  # one that runs over into our days
    with pytest.raises(StepError, match=rf"made, entry 2, column 'at': {message} expected, found '"):
        cells(pa.array([AT, beyond], pa.timestamp("s"))).microseconds("iso")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_decimal_is_the_same_in_fewer_bytes(kind: type[np.floating]) -> None:
    values = pa.array(np.array([3.7, 0.1, -2.5, 7, np.nan], kind))
    np.testing.assert_array_equal(cells(values).numbers(), [3.7, 0.1, -2.5, 7, np.nan])
