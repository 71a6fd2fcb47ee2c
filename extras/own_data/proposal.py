"""Propose a first dataset.toml for files that have none: ``make new-data folder=my-folder``.

It looks at the first rows of each CSV and Parquet file in the folder and writes down their likely meaning, with the
reason for each guess. A person reads it and corrects it. A dataset.toml that is there already is never touched.

Reads:  the folder
Writes: dataset.toml in it
Run:    python -m extras.own_data.proposal my-folder
Expect: one line a table, and the command to run next
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
import numpy as np
import pandas as pd

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.own_data import declaration
from extras.own_data.attributes import MOST_CATEGORIES, written
from extras.own_data.declaration import (
    DECLARATION,
    INTERACTIONS,
    ITEMS,
    TAKEN,
    USERS,
    InteractionsTable,
    Kind,
    TimeUnit,
)
from extras.own_data.tables import ENDINGS, File, Table, database, opened
from extras.own_data.times import LATEST, PER_SECOND, AmbiguousTimesError, microseconds
from offline import movielens

READ: Final = (*ENDINGS, ".tsv", ".tsv.gz", ".txt")
SHOWN: Final = 40  # characters of a cell: a time with its zone
SAMPLE: Final = 20_000  # rows looked at of each file
MOST: Final = 0.99  # share of the cells that must be of a kind
EARLIEST: Final = 100_000_000  # seconds: 1973; smaller numbers are counts, years or ids
SEPARATORS: Final = ("|", ";", ",")
FEW_SPLIT: Final = 0.1  # share of cells that hold several values, whose parts come in many combinations
HALF_SPLIT: Final = 0.5  # the same, where they do not
FEW_NUMBERS: Final = 20  # up to this many distinct numbers may be codes
USER_NAMES: Final = (
    r"user|customer|member|client|visitor|account|person|buyer|reader|uid|who"
)
ITEM_NAMES: Final = (
    r"item|product|sku|movie|film|article|song|track|book|video|page|offer|good|what"
)
TIME_NAMES: Final = r"time|date|timestamp|ts|at|when|day|seen|created"
VALUE_NAMES: Final = r"rating|stars?|score|value|grade|vote|points?"
TITLE_NAMES: Final = r"title|name|label|headline"


class Looked(NamedTuple):
    """A file, and a sample of its columns."""

    file: File
    columns: Mapping[str, Column]


class Interactions(NamedTuple):
    """The file of events, and the roles of its columns."""

    looked: Looked
    user: Column
    item: Column
    time: Column
    value: Column | None


def propose(folder: Path) -> str:
    """The text of a dataset.toml. Raises StepError where no file looks like interactions."""
    if not folder.is_dir():
        raise StepError(
            f"{folder} is no folder: name the one that holds the files (a zip: unpack it first)."
        )
    with movielens.files_of(folder) as files, database() as connection:
        if movielens.layout_of(files):
            raise StepError(
                f"{folder} holds MovieLens, which needs no {DECLARATION}: make demo {_data(folder)}"
            )
        looked = [
            _look(connection, name, files[name])
            for name in sorted(files)
            if name.endswith(READ)
        ]
    if not looked:
        raise StepError(f"{folder} holds no file that ends with {', '.join(READ)}.")
    events = next((found for each in looked if (found := _interactions(each))), None)
    if events is None:
        seen = "; ".join(
            f"{file.name}: {', '.join(columns)}" for file, columns in looked
        )
        raise StepError(
            f"no file of {folder} looks like interactions, with a column each for user, item and time. Found: {seen}. "
            f"Write {DECLARATION} by hand, as the chapter 'Your own data' shows."
        )
    text = (
        "\n".join(
            _lines(
                folder, events, [each for each in looked if each is not events.looked]
            )
        )
        + "\n"
    )
    declaration.parse(text)  # check that it can be read
    return text


def _look(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> Looked:
    """Sample the first `SAMPLE` rows of a file, by column."""
    file = opened(connection, name, path)
    table = Table(
        connection,
        "sample",
        [file],
        {f"s{number}": column for number, column in enumerate(file.columns)},
    )
    table.load(list(table.columns), limit=SAMPLE)
    rows = connection.execute(
        f"SELECT {', '.join(table.columns)} FROM sample ORDER BY row"
    ).fetchall()
    columns = {}
    for number, (column, kind) in enumerate(zip(file.columns, file.types, strict=True)):
        lists = kind.endswith("[]")
        texts = (
            "|".join(row[number] or ()) if lists else row[number] or "" for row in rows
        )
        cells = pd.Series(list(texts), dtype=object)
        columns[column] = Column(
            column,
            cells,
            lists,
            *(None, ()) if lists else _time_unit(table, f"s{number}", cells),
        )
    return Looked(file, columns)


def _time_unit(
    table: Table, column: str, cells: pd.Series
) -> tuple[TimeUnit | None, tuple[str, ...]]:
    """The unit in which the cells are times, or None; and the formats between which they are ambiguous."""
    given = cells[cells != ""]
    numbers = pd.to_numeric(given, errors="coerce").dropna()
    if given.empty or len(numbers) >= MOST * len(given):
        for unit, per_second in PER_SECOND.items():
            low, high = EARLIEST * per_second, LATEST * per_second / 10
            if len(numbers) and ((numbers >= low) & (numbers <= high)).mean() >= MOST:
                return unit, ()
        return None, ()
    table.connection.execute(
        f"CREATE OR REPLACE TABLE cells AS SELECT file, row, {column} AS time FROM sample WHERE {column} IS NOT NULL"
    )
    written_out = InteractionsTable(user="", item="", time="", time_unit="iso")
    try:
        microseconds(
            Table(
                table.connection, "cells", table.files, {"time": table.columns[column]}
            ),
            written_out,
        )
    except AmbiguousTimesError as error:
        return "iso", error.formats
    except StepError:
        return None, ()
    return "iso", ()


def _interactions(looked: Looked) -> Interactions | None:
    """The roles of a file's columns, first by their names; None where it has no user, item or time."""
    columns = list(looked.columns.values())
    times = [column for column in columns if column.unit]
    time = first_called(times, TIME_NAMES) or next(iter(times), None)
    rest = [column for column in columns if column is not time]
    user = first_called(rest, USER_NAMES)
    item = first_called((column for column in rest if column is not user), ITEM_NAMES)
    ids = [
        column for column in rest if column not in (user, item) and not column.is_key
    ]
    user = user or next(iter(ids), None)
    item = item or next((column for column in ids if column is not user), None)
    if not (time and user and item):
        return None
    left = [
        column for column in rest if column not in (user, item) and column.is_numeric
    ]
    return Interactions(looked, user, item, time, first_called(left, VALUE_NAMES))


# --------------------------------------------------------------------------------------------------------------- lines


def _lines(folder: Path, events: Interactions, others: list[Looked]) -> Iterator[str]:
    """A dataset.toml, line by line. Raises StepError where the first line of a file seems to be its first row."""
    name = (
        "".join(
            mark if mark.isalnum() or mark in "._-" else "-"
            for mark in folder.resolve().name
        )
        or "my-data"
    )
    yield "# Proposed from the first rows of each file. Read it, correct it: every line here is a guess."
    yield f"name = {_toml(name)}"

    yield from (
        "",
        f"[{INTERACTIONS}]  # who did something with what, and when",
        *_file(events.looked),
    )
    for key, column in (
        ("user", events.user),
        ("item", events.item),
        ("time", events.time),
    ):
        shown = ", ".join(repr(str(cell)[:SHOWN]) for cell in column.given.unique()[:3])
        yield f"{key} = {_toml(column.name)}  # like {shown}"
    yield f'time_unit = "{events.time.unit}"  # "s", "ms", "us" since 1970, or "iso" for times written out'
    if events.time.formats:
        yield f"# time_format = ...  # say which of these is meant: {', '.join(map(_toml, events.time.formats))}"
    if events.value is None:
        yield "# value = ...  # no column looks like one: every event counts as liked (implicit feedback)"
    else:
        above, why = liked_above(events.value.numbers)
        yield f"value = {_toml(events.value.name)}  # without it every event counts as liked"
        yield f"positive_above = {written(above)}  # an event is liked above this: {why}"

    yield from _of_listed(USERS, events.user, events.item, others)
    yield from _of_listed(ITEMS, events.item, events.user, others)

    sizes = events.user.cells.value_counts()
    yield from ("", "[holdout]  # each user's last events, kept for evaluation")
    yield f"share = 0.1  # or last = 10; a user has {sizes.median():g} events (median of the rows looked at)"
    if (sizes == 1).mean() > 0.5:
        yield "at_least = 0  # most users have a single event: it is left to learn from"


def _file(looked: Looked) -> Iterator[str]:
    """The lines that name a file. Raises StepError if it seems to have no header."""
    for name in looked.columns:
        if re.match(r"\s*[-+]?\d", name):
            raise StepError(
                f"{looked.file.name} seems to have no header, as a column is called {name!r}: "
                "put the names of the columns on its first line."
            )
    yield f"file = {_toml(looked.file.name)}"
    if looked.file.delimiter != ",":
        yield f"delimiter = {_toml(looked.file.delimiter)}"


def _of_listed(
    table: str, of_events: Column, not_of: Column, others: list[Looked]
) -> Iterator[str]:
    """The table that lists the ids of ``of_events``; not by a key named as ``not_of``: numbers match any ids."""
    keyed = (
        (each, key)
        for each in others
        if (key := key_of(each.columns, of_events.cells)) is not None
    )
    looked, key = next(
        (pair for pair in keyed if pair[1].name != not_of.name), (None, None)
    )
    if looked is None or key is None:
        yield from (
            "",
            f"# [{table}]: no file lists every {_toml(of_events.name)} once",
        )
        return
    yield from (
        "",
        f"[{table}]  # every {table[:-1]} once",
        *_file(looked),
        f"id = {_toml(key.name)}",
    )
    rest = [column for column in looked.columns.values() if column is not key]
    if table == ITEMS and (title := first_called(rest, TITLE_NAMES)):
        rest.remove(title)
        yield f"title = {_toml(title.name)}"
    marks = Counter(mark for column in rest if (mark := column.separator()))
    separator = max(marks, key=marks.__getitem__, default=None)
    if separator:
        yield f"separator = {_toml(separator)}  # between several values in one cell"
    yield from (
        f"[{table}.attributes]",
        *(_attribute(column, separator) for column in rest),
    )


def _attribute(column: Column, separator: str | None) -> str:
    kind, mark, name = column.kind(), column.separator(), column.name
    if mark not in (None, separator):
        return f"# {_toml(name)}: left out, as {_toml(mark)} is between its values; a table has one separator"
    if kind is None:
        return f"# {_toml(name)}: left out, as {column.distinct:,} of {len(column.cells):,} values differ"
    spec = _toml(kind)
    if name in TAKEN or ": " in name:
        name, spec = (
            f"own {name}".replace(": ", " "),
            f"{{ kind = {spec}, column = {_toml(column.name)} }}",
        )
    values = (
        column.given.str.split(mark, regex=False).explode().str.strip().nunique()
        if mark
        else column.distinct
    )
    return f"{_toml(name)} = {spec}  # {values:,} different values"


def _data(folder: Path) -> str:
    return f"RECSYS_DATA={shlex.quote(str(folder))}"


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------------------- guesses


@dataclass(frozen=True)
class Column:
    """A sample of one column.

    Attributes:
        cells: strings, "" for nothing.
        lists: whether the file itself holds lists.
        unit: of time, if the cells are times; ``formats``: date formats that all fit them.
    """

    name: str
    cells: pd.Series
    lists: bool
    unit: TimeUnit | None
    formats: tuple[str, ...] = ()

    @property
    def given(self) -> pd.Series:
        return self.cells[self.cells != ""]

    @property
    def distinct(self) -> int:
        return int(self.cells.nunique())

    @property
    def is_key(self) -> bool:
        """No value twice, none missing."""
        return self.distinct == len(self.cells) > 0 and not (self.cells == "").any()

    @property
    def numbers(self) -> pd.Series:
        """The numbers among the cells."""
        return pd.to_numeric(self.given, errors="coerce").dropna()

    @property
    def is_numeric(self) -> bool:
        return len(self.given) > 0 and len(self.numbers) >= MOST * len(self.given)

    def called(self, names: str) -> bool:
        """Whether a word of the name is one of ``names``, plural or followed by ``id``, too."""
        words = re.sub(r"([a-z])([A-Z])", r"\1_\2", self.name).lower()
        return re.search(rf"(^|[^a-z])({names})s?(_?id)?([^a-z]|$)", words) is not None

    def separator(self) -> str | None:
        """Separator of several values in a cell: that of most cells and fewest values; None for single ones."""
        if self.lists or self.given.empty:
            return None
        ranked = []
        for mark in SEPARATORS:
            parts = self.given.str.split(mark, regex=False)
            split = parts.map(len) > 1
            several, values = float(split.mean()), parts.explode().str.strip()
            met_again = (
                values[split[split].index].nunique() < self.given[split].nunique()
            )
            # in few cells, or if its parts occur in no other combination, it seems to be part of the values
            if several >= (
                FEW_SPLIT if met_again else HALF_SPLIT
            ) and values.nunique() <= 0.5 * len(values):
                ranked.append((several, -values.nunique(), mark))
        return max(ranked, default=(0, 0, None))[-1]

    def kind(self) -> Kind | None:
        """Its kind as an attribute; None if nearly every row has another value."""
        if self.lists or self.separator():
            return "multi-valued"
        if self.is_numeric and self.distinct > FEW_NUMBERS:
            return "numeric"
        if self.distinct <= MOST_CATEGORIES and self.distinct <= max(
            0.5 * len(self.given), FEW_NUMBERS
        ):
            return "categorical"
        return None


def first_called(columns: Iterable[Column], names: str) -> Column | None:
    return next((column for column in columns if column.called(names)), None)


def liked_above(values: pd.Series) -> tuple[float, str]:
    """Propose a threshold above which values are liked, with the reason."""
    distinct = np.unique(values)
    low, high = float(distinct[0]), float(distinct[-1])
    if len(distinct) <= 11 and high > low:
        at = distinct[int(np.searchsorted(distinct, low + 0.6 * (high - low)))]
        below = distinct[distinct < at]
        threshold = float(below[-1]) if len(below) else low
        return threshold, f"the upper two fifths of {low:g} to {high:g}"
    middle = float(np.median(values))
    return middle, f"the median of what lies between {low:g} and {high:g}"


def key_of(columns: Mapping[str, Column], values: pd.Series) -> Column | None:
    """The column that lists (nearly) all of ``values``, each once."""
    wanted = set(values)
    for column in columns.values():
        if column.is_key and len(wanted & set(column.cells)) >= 0.9 * min(
            len(wanted), len(column.cells)
        ):
            return column
    return None


def main(_: Settings, folder: Path) -> None:
    target = folder / DECLARATION
    if target.exists():
        raise StepError(
            f"{target} is there already and is left as it is; remove it first to have one proposed."
        )
    text = propose(folder)
    with target.open("x", encoding="utf-8") as file:
        file.write(text)
    print(text)  # noqa: T201
    print(f"Written: {target}. Read and correct it, then: make demo {_data(folder)}")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    run(lambda settings: main(settings, given.folder))
