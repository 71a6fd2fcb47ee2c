"""Arrays of numpy as columns of Arrow, and back, without an object of each row, which pandas would make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike, NDArray

ARRAY = 1 << 30  # bytes of an Arrow array at most: it counts what its rows hold by 32 bits


def column(rows: NDArray[Any]) -> pa.ChunkedArray:
    """(m,) numbers; (m, n): m lists of n."""
    if rows.ndim == 1:
        return pa.chunked_array([rows])
    lists = (pa.ListArray.from_arrays(_offsets(*part.shape), part.ravel()) for part in _pieces(rows))
    return pa.chunked_array(lists, pa.list_(pa.from_numpy_dtype(rows.dtype)))


def rows(column: pa.ChunkedArray) -> NDArray[Any]:
    """(m,) of a column of numbers, (m, n) of one of lists. Raises ValueError when lists differ in size."""
    if not pa.types.is_list(column.type):
        numbers: NDArray[Any] = column.to_numpy()
        return numbers
    size = _size(pc.list_value_length(column))
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(flat).reshape(len(column), size)


def bytes_column(rows: NDArray[Any]) -> pa.ChunkedArray:
    """(m, ...) -> the bytes of each of the m."""
    return pa.chunked_array((_bytes(part) for part in _pieces(rows)), pa.binary())


def bytes_rows(column: pa.ChunkedArray, dtype: DTypeLike) -> NDArray[Any]:
    """(m, n) numbers of m times the bytes of n. Raises ValueError when they differ in size, or are no such numbers."""
    size = _size(pc.binary_length(column))
    flat = []
    for chunk in column.chunks:
        offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset :][: len(chunk) + 1]
        flat.append(np.frombuffer(chunk.buffers()[2], np.uint8)[offsets[0] : offsets[-1]])
    return np.concatenate(flat).reshape(len(column), size).view(dtype)


def _size(sizes: pa.ChunkedArray) -> int:
    """The one that all are; 0 of none. Raises ValueError when they differ."""
    found: list[int] = sizes.unique().to_pylist()
    if len(found) > 1:
        raise ValueError("rows of one column differ in size")
    return found[0] if found else 0


def _pieces(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """(m, ...) -> some of the m after the other, as many as an Arrow array may hold."""
    size = max(ARRAY // max(rows[:1].nbytes, 1), 1)
    return (np.ascontiguousarray(rows[begin : begin + size]) for begin in range(0, len(rows), size))


def _bytes(rows: NDArray[Any]) -> pa.BinaryArray:
    offsets = _offsets(len(rows), rows[:1].nbytes)
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows)])


def _offsets(m: int, n: int) -> NDArray[np.int32]:
    return np.arange(m + 1, dtype=np.int32) * np.int32(n)
