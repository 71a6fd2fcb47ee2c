"""The backup file: a compressed tar of a folder, whose first member says what is in it, with SHA-256 checksums."""

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final, Literal, cast

from pydantic import BaseModel, ValidationError

from data_exchange_center.errors import RecsysError
from data_exchange_center.files import sha256, written_in_place

HEADER: Final = "backup.json"
DAMAGED: Final = (
    tarfile.TarError,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    ValidationError,
)


class BackupError(RecsysError):
    """There is no backup, or it cannot be restored. The message says why; nothing was changed."""


class Header(BaseModel):
    """What a backup holds."""

    format: Literal[1] = 1
    version: str  # of the program that made it
    made: datetime
    live: str
    releases: list[str]  # published ones, the newest first
    checksums: dict[str, str] = {}  # path in the archive -> SHA-256


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its folders, in order, without temporary ones, whose names begin with a dot."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path


def pack(folder: Path, header: Header, file: Path) -> None:
    """Write a folder into ``file``, whole or not at all, readable by its owner alone."""
    names = {str(path.relative_to(folder)): path for path in files_below(folder)}
    header.checksums = {name: sha256(path) for name, path in names.items()}
    described = folder / HEADER
    described.write_text(header.model_dump_json(indent=1), encoding="utf-8")
    with (
        written_in_place(file) as temporary,
        tarfile.open(temporary, "w:gz", compresslevel=1) as tar,
    ):
        for name, path in {HEADER: described, **names}.items():
            tar.add(path, name)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a file of the archive below ``folder``. Raises TarError for anything else.

    As `TarFile.extractall` with the filter "data", which Python has from 3.11.4 on.
    """
    target = folder / member.name
    if not member.isfile() or not target.resolve().is_relative_to(folder.resolve()):
        raise tarfile.TarError(f"{member.name} is no file within the archive")
    target.parent.mkdir(parents=True, exist_ok=True)
    with cast("IO[bytes]", tar.extractfile(member)) as content, target.open("wb") as to:
        shutil.copyfileobj(content, to)


@contextmanager
def unpacked(file: Path, within: Path) -> Iterator[tuple[Header, Path]]:
    """Unpack a backup into a temporary folder in ``within``. Raises BackupError unless it is as it was packed."""
    within.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=within, prefix=".backup-") as name:
        folder = Path(name)
        try:
            with tarfile.open(file, "r:gz") as tar:
                for member in tar:
                    _extract(tar, member, folder)
            text = (folder / HEADER).read_bytes()
            header = Header.model_validate_json(text)
        except FileNotFoundError as error:
            if not file.exists():
                raise BackupError(f"there is no file {file}") from error
            raise BackupError(f"{file} is not a backup: it has no {HEADER}") from error
        except DAMAGED as error:
            raise BackupError(
                f"{file} is not a backup of this version, or it is damaged: {error}"
            ) from error
        (folder / HEADER).unlink()
        found = {str(path.relative_to(folder)) for path in files_below(folder)}
        for path in sorted(found | set(header.checksums)):
            if path not in found or header.checksums.get(path) != sha256(folder / path):
                raise BackupError(f"{file} is damaged: {path} is not as it was saved")
        yield header, folder
