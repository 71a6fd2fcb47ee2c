from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from offline.data import arrow_columns

ROWS = (
    np.arange(7),
    np.arange(14, dtype=np.int32).reshape(7, 2),
    np.arange(28).reshape(7, 4) % 3 == 0,
    np.arange(28, dtype=np.int8).reshape(4, 7).T,
)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("size", [1, 10, 1 << 30])
def test_rows_survive_a_column(rows: np.ndarray, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of one row, of some, and in one."""
    monkeypatch.setattr(arrow_columns, "ARRAY", size)
    found = arrow_columns.rows(arrow_columns.column(rows))
    assert found.dtype == rows.dtype
    assert np.array_equal(found, rows)
    assert np.array_equal(arrow_columns.rows(arrow_columns.column(rows).slice(2, 3)), rows[2:5])


@pytest.mark.parametrize("size", [1, 100, 1 << 30])
def test_bytes_are_those_of_each_row(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_columns, "ARRAY", size)
    rows = np.random.default_rng(0).random((9, 3, 2)).astype(np.float16)
    assert arrow_columns.of_bytes(rows).to_pylist() == [row.tobytes() for row in rows]


def test_lists_that_differ_in_size_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        arrow_columns.rows(pa.chunked_array([pa.array([[1], [1, 2]])]))
