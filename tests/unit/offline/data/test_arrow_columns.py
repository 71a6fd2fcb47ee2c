from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from offline.data import lists

ROWS = (
    np.arange(7),
    np.arange(14, dtype=np.int32).reshape(7, 2),
    np.arange(28).reshape(7, 4) % 3 == 0,
    np.arange(28, dtype=np.int8).reshape(4, 7).T,
    np.zeros((7, 0), np.int32),
)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("size", [1, 10, 1 << 30])
def test_rows_survive_a_column(rows: np.ndarray, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of one row, of some, and in one."""
    monkeypatch.setattr(lists, "ARRAY", size)
    found = lists.array_of(lists.arrow_column(rows))
    assert found.dtype == rows.dtype
    assert np.array_equal(found, rows)
    assert np.array_equal(lists.array_of(lists.arrow_column(rows).slice(2, 3)), rows[2:5])


@pytest.mark.parametrize("size", [1, 100, 1 << 30])
def test_bytes_are_those_of_each_row(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "ARRAY", size)
    rows = np.random.default_rng(0).random((9, 3, 2)).astype(np.float16)
    column = lists.bytes_column(rows)
    assert column.to_pylist() == [row.tobytes() for row in rows]
    assert np.array_equal(lists.bytes_array(column, np.float16), rows.reshape(9, 6))
    assert np.array_equal(lists.bytes_array(column.slice(2, 3), np.float16), rows[2:5].reshape(3, 6))


def test_without_rows_there_is_nothing() -> None:
    none = pa.chunked_array([pa.array([], pa.binary())])
    assert lists.bytes_array(none, np.float16).shape == (0, 0)


def test_rows_that_differ_in_size_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        lists.array_of(pa.chunked_array([pa.array([[1], [1, 2]])]))
    with pytest.raises(ValueError, match="differ in size"):
        lists.bytes_array(pa.chunked_array([pa.array([b"12", b"1234"])]), np.float16)
    with pytest.raises(ValueError, match="divisor"):
        lists.bytes_array(pa.chunked_array([pa.array([b"123", b"123"])]), np.float16)
