"""How far something has come: a bar on a terminal; in a file or a pipe a line every ten seconds."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar, overload

from tqdm import tqdm

Item = TypeVar("Item")

LINE_EVERY_S = 10.0
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit} ({percentage:.0f}%), {elapsed} gone, {remaining} to go{postfix}"


@overload
def progress(
    iterable: Iterable[Item], desc: str = ..., *, stream: TextIO | None = ..., **options: Any
) -> tqdm[Item]: ...
@overload
def progress(iterable: None = ..., desc: str = ..., *, stream: TextIO | None = ..., **options: Any) -> tqdm[Any]: ...
def progress(
    iterable: Iterable[Any] | None = None, desc: str = "", *, stream: TextIO | None = None, **options: Any
) -> tqdm[Any]:
    """A tqdm over ``iterable``, or to be updated by hand. ``options``: tqdm's.

    Where ``stream`` (standard error) is no terminal, what is over within ten seconds says nothing.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        options |= {"mininterval": LINE_EVERY_S, "delay": LINE_EVERY_S, "miniters": 1, "bar_format": _LINE}
    file = stream if stream.isatty() else _Lines(stream)
    return tqdm(iterable, desc, file=file, **options)


class _Lines(io.TextIOBase):
    """Takes what tqdm draws over and over for lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if line := text.strip():
            self._stream.write(f"{line}\n")
            self._stream.flush()
        return len(text)
