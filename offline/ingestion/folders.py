"""The files of a folder or of a zip, by name."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from data_exchange_center.steps import StepError

Files = Mapping[str, Callable[[], BinaryIO]]  # file name -> how to open it


@contextmanager
def files_of(path: Path) -> Iterator[Files]:
    """Every file at any depth; of two with the same name, the one that comes first in order.

    Raises StepError where ``path`` is neither a folder nor a whole zip.
    """
    if path.is_dir():
        found = sorted((file for file in path.rglob("*") if file.is_file()), reverse=True)
        yield {file.name: partial(_opened, file) for file in found}
    elif path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                names = sorted(archive.namelist(), key=PurePosixPath, reverse=True)
                yield {PurePosixPath(name).name: partial(_open, path, archive, name) for name in names}
        except zipfile.BadZipFile as error:
            raise StepError(f"{path} is not a folder and not a whole zip ({error}).") from error
    else:
        raise StepError(f"{path.absolute()} does not exist; RECSYS_DATA must name a folder or a zip with data.")


def _opened(file: Path) -> BinaryIO:
    return file.open("rb")


def content_of(open_file: Callable[[], BinaryIO]) -> bytes:
    """All of a file."""
    with open_file() as file:
        return file.read()


def length_of(file: BinaryIO) -> int:
    """Bytes of an opened file."""
    if isinstance(file, _Member):
        return file.length  # what is packed would be unpacked to find its end
    place = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(place)
    return end


class _Member(io.BufferedIOBase):
    """A file in a zip; what is wrong with the zip is one sentence, whenever it is met."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, name: str) -> None:
        self._path, self._name = path, name
        with self._told():
            self._file = archive.open(name)
        self.length = archive.getinfo(name).file_size

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise StepError(  # RuntimeError: encrypted
                f"{self._name} in {self._path} cannot be read ({error}): the zip is damaged or encrypted. "
                "Fetch it again, or name a folder with the unpacked files in RECSYS_DATA."
            ) from error

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        with self._told():
            content: bytes = self._file.read(-1 if size is None else size)
            return content

    def read1(self, size: int = -1) -> bytes:
        return self.read(size)

    def close(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        super().close()


def _open(path: Path, archive: zipfile.ZipFile, name: str) -> BinaryIO:
    return _Member(path, archive, name)  # type: ignore[return-value]
