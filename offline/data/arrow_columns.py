"""Arrays of numpy as columns of Arrow, and back, in one piece: pandas would make an object of each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

ARRAY = 1 << 30  # bytes of an Arrow array at most: it counts what its rows hold by 32 bits


def column(rows: NDArray[Any]) -> pa.ChunkedArray:
    """(m,) numbers; (m, n): m lists of n."""
    if rows.ndim == 1:
        return pa.chunked_array([rows])
    lists = (pa.ListArray.from_arrays(_offsets(*part.shape), part.ravel()) for part in _pieces(rows))
    return pa.chunked_array(lists, pa.list_(pa.from_numpy_dtype(rows.dtype)))


def of_bytes(rows: NDArray[Any]) -> pa.ChunkedArray:
    """(m, ...) -> the bytes of each of the m, which are not copied."""
    return pa.chunked_array((_bytes(part) for part in _pieces(rows)), pa.binary())


def rows(column: pa.ChunkedArray) -> NDArray[Any]:
    """Inverse of `column`. Raises ValueError when lists differ in size."""
    if not pa.types.is_list(column.type):
        numbers: NDArray[Any] = column.to_numpy()
        return numbers
    sizes = pc.list_value_length(column).unique()
    if len(sizes) != 1:
        raise ValueError("lists of one column differ in size")
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(flat).reshape(-1, sizes[0].as_py())


def _pieces(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """(m, ...) -> some of the m after the other, as many as an Arrow array may hold."""
    size = max(ARRAY // max(rows[:1].nbytes, 1), 1)
    return (np.ascontiguousarray(rows[begin : begin + size]) for begin in range(0, len(rows), size))


def _bytes(rows: NDArray[Any]) -> pa.BinaryArray:
    offsets = _offsets(len(rows), rows[:1].nbytes)
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows)])


def _offsets(m: int, n: int) -> NDArray[np.int32]:
    return np.arange(m + 1, dtype=np.int32) * np.int32(n)
