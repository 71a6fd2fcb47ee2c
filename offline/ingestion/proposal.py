"""A first dataset.toml for files that have none: ``make new-data folder=my-folder``.

It looks at the first rows of each CSV and Parquet file in the folder and writes what they seem to mean, with the reason
beside each guess. A person reads it and corrects it. A dataset.toml that is there already is never touched.

Reads:  the folder
Writes: dataset.toml in it
Run:    python -m offline.ingestion.proposal my-folder
Expect: one line a table, and what to run next
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import pandas as pd

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline.ingestion import declaration, guesses
from offline.ingestion.attributes import written
from offline.ingestion.declaration import DECLARATION, INTERACTIONS, ITEMS, TAKEN, USERS
from offline.ingestion.folders import files_of
from offline.ingestion.guesses import Column
from offline.ingestion.sources import movielens_in, rows_of
from offline.ingestion.tables import ENDINGS, CsvRows

READ: Final = (*ENDINGS, ".tsv", ".tsv.gz", ".txt")
SHOWN: Final = 40  # characters of a cell: a time with its zone
DELIMITERS: Final = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Looked:
    """A file, and a sample of its columns."""

    name: str
    delimiter: str
    columns: Mapping[str, Column]


@dataclass(frozen=True)
class Interactions:
    """The file of events, and which of its columns is what."""

    file: Looked
    user: Column
    item: Column
    time: Column
    value: Column | None


def propose(folder: Path) -> str:
    """The text of a dataset.toml. Raises StepError where no file looks like interactions."""
    if not folder.is_dir():
        raise StepError(f"{folder} is no folder: name the one that holds the files (a zip: unpack it first).")
    with files_of(folder) as files:
        if movielens_in(files):
            raise StepError(f"{folder} holds MovieLens, which needs no {DECLARATION}: make demo {_data(folder)}")
        looked = [_look(name, files[name]) for name in sorted(files) if name.endswith(READ)]
    if not looked:
        raise StepError(f"{folder} holds no file that ends with {', '.join(READ)}.")
    events = next((found for file in looked if (found := _interactions(file))), None)
    if events is None:
        seen = "; ".join(f"{file.name}: {', '.join(file.columns)}" for file in looked)
        raise StepError(
            f"no file of {folder} looks like interactions, with a column each for user, item and time. Found: {seen}. "
            f"Write {DECLARATION} by hand, as the chapter 'Your own data' shows."
        )
    _expect_header(events.file)
    others = [file for file in looked if file is not events.file]
    lines = [*_head(folder), *_of_interactions(events)]
    lines += [
        *_of_listed(USERS, events.user, events.item, others),
        *_of_listed(ITEMS, events.item, events.user, others),
    ]
    lines += _of_holdout(events)
    text = "\n".join(lines) + "\n"
    declaration.parse(text)  # what is written can be read
    return text


def _look(name: str, open_file: Callable[[], BinaryIO]) -> Looked:
    rows = rows_of(name, open_file)
    delimiter = ","
    if isinstance(rows, CsvRows):
        (line,) = CsvRows(rows.name, rows.open_file, "\0").header() or [""]
        delimiter = max(DELIMITERS, key=line.count)
        rows = CsvRows(rows.name, rows.open_file, delimiter)
    return Looked(name, delimiter, guesses.sampled(rows, rows.header()))


def _interactions(file: Looked) -> Interactions | None:
    columns = list(file.columns.values())
    times = [column for column in columns if column.unit]
    time = guesses.first_called(times, guesses.TIME_NAMES) or next(iter(times), None)
    rest = [column for column in columns if column is not time]
    user = guesses.first_called(rest, guesses.USER_NAMES)
    item = guesses.first_called((column for column in rest if column is not user), guesses.ITEM_NAMES)
    ids = [column for column in rest if column not in (user, item) and not column.is_key]
    user = user or next(iter(ids), None)
    item = item or next((column for column in ids if column is not user), None)
    if not (time and user and item):
        return None
    left = [column for column in rest if column not in (user, item) and column.is_numeric]
    return Interactions(file, user, item, time, guesses.first_called(left, guesses.VALUE_NAMES))


def _expect_header(file: Looked) -> None:
    """Raise StepError where the first line of a table seems to be its first row."""
    for name in file.columns:
        if guesses.time_unit(pd.Series([name])) or pd.to_numeric(pd.Series([name]), errors="coerce").notna().any():
            raise StepError(
                f"{file.name} seems to have no header, as a column is called {name!r}: "
                "put the names of the columns on its first line."
            )


def _head(folder: Path) -> Iterator[str]:
    name = "".join(mark if mark.isalnum() or mark in "._-" else "-" for mark in folder.resolve().name) or "my-data"
    yield "# Proposed from the first rows of each file. Read it, correct it: every line here is a guess."
    yield f"name = {_toml(name)}"


def _file(looked: Looked) -> Iterator[str]:
    yield f"file = {_toml(looked.name)}"
    if looked.delimiter != ",":
        yield f"delimiter = {_toml(looked.delimiter)}"


def _of_interactions(events: Interactions) -> Iterator[str]:
    yield from ("", f"[{INTERACTIONS}]  # who did something with what, and when", *_file(events.file))
    for key, column in (("user", events.user), ("item", events.item), ("time", events.time)):
        shown = ", ".join(repr(str(cell)[:SHOWN]) for cell in column.given.unique()[:3])
        yield f"{key} = {_toml(column.name)}  # like {shown}"
    yield f'time_unit = "{events.time.unit}"  # "s", "ms", "us" since 1970, or "iso"'
    if events.value is None:
        yield "# value = ...  # no column looks like one: every event counts as liked (implicit feedback)"
    else:
        above, why = guesses.liked_above(events.value.numbers)
        yield f"value = {_toml(events.value.name)}  # without it every event counts as liked"
        yield f"positive_above = {written(above)}  # an event is liked above this: {why}"


def _of_listed(table: str, of_events: Column, not_of: Column, others: list[Looked]) -> Iterator[str]:
    """The table that lists the ids of ``of_events``; not one under the name of ``not_of``, as numbers are anybody's."""
    for looked in others:
        key = guesses.key_of(looked.columns, of_events.cells)
        if key is None or key.name == not_of.name:
            continue
        _expect_header(looked)
        yield from ("", f"[{table}]  # every {_one(table)} once", *_file(looked), f"id = {_toml(key.name)}")
        rest = [column for column in looked.columns.values() if column is not key]
        if table == ITEMS and (title := guesses.first_called(rest, guesses.TITLE_NAMES)):
            rest.remove(title)
            yield f"title = {_toml(title.name)}"
        marks = Counter(mark for column in rest if (mark := column.separator()))
        separator = max(marks, key=marks.__getitem__, default=None)
        if separator:
            yield f"separator = {_toml(separator)}  # between several values in one cell"
        yield from (f"[{table}.attributes]", *(_attribute(column, separator) for column in rest))
        return
    yield from ("", f"# [{table}]: no file lists every {_toml(of_events.name)} once")


def _attribute(column: Column, separator: str | None) -> str:
    kind, mark = column.kind(), column.separator()
    if mark not in (None, separator):
        return f"# {_toml(column.name)}: left out, as {_toml(mark)} is between its values; a table has one separator"
    if kind is None:
        return f"# {_toml(column.name)}: left out, as {column.distinct:,} of {len(column.cells):,} values differ"
    spec = _toml(kind)
    name = column.name
    if name in TAKEN or ": " in name:
        name, spec = f"own {name}".replace(": ", " "), f"{{ kind = {spec}, column = {_toml(column.name)} }}"
    return f"{_toml(name)} = {spec}  # {column.distinct:,} different values"


def _of_holdout(events: Interactions) -> Iterator[str]:
    sizes = events.user.cells.value_counts()
    yield from ("", "[holdout]  # each user's last events, kept for evaluation")
    yield f"share = 0.1  # or last = 10; a user has {sizes.median():g} events (median of the rows looked at)"
    if (sizes == 1).mean() > 0.5:
        yield "at_least = 0  # most users have a single event: it is left to learn from"


def _one(table: str) -> str:
    return table.removesuffix("s")


def _data(folder: Path) -> str:
    return f"RECSYS_DATA={shlex.quote(str(folder))}"


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def main(_: Settings, folder: Path) -> None:
    target = folder / DECLARATION
    if target.exists():
        raise StepError(f"{target} is there already and is left as it is; remove it first to have one proposed.")
    text = propose(folder)
    with target.open("x", encoding="utf-8") as file:
        file.write(text)
    print(text)  # noqa: T201
    print(f"Written: {target}. Read and correct it, then: make demo {_data(folder)}")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    run(lambda settings: main(settings, given.folder))
