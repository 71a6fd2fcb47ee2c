"""Propose a first dataset.toml for files that have none: ``make new-data folder=my-folder``.

Users, items, times and values are recognized by the names of their columns, attributes by the first rows of each file.
A person reads the proposal and corrects it. A dataset.toml that is there already is never touched.

Reads:  the folder
Writes: dataset.toml in it
Run:    python -m extras.own_data.proposal my-folder
Expect: the proposal, and the command to run next
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pandas as pd

from data_exchange_center.dataset import SEPARATOR
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.own_data import declaration, times
from extras.own_data.attributes import MOST_CATEGORIES, written
from extras.own_data.declaration import (
    DECLARATION,
    INTERACTIONS,
    ITEMS,
    TAKEN,
    USERS,
    Kind,
    TimeUnit,
)
from extras.own_data.tables import ENDINGS, File, database, opened
from offline import movielens

READ: Final = (*ENDINGS, ".tsv", ".tsv.gz", ".txt")
SAMPLE: Final = 20_000  # rows looked at of each file
SEPARATORS: Final = ("|", ";", ",")
MANY: Final = 0.3  # share of cells with a separator in them, if it is one
FEW_NUMBERS: Final = 20  # up to this many distinct numbers may be codes
USER: Final = r"user|customer|member|client|visitor|account|person|buyer|reader|uid|who"
ITEM: Final = (
    r"item|product|sku|movie|film|article|song|track|book|video|page|offer|good|what"
)
TIME: Final = r"time|date|timestamp|ts|at|when|day|seen|created"
VALUE: Final = r"rating|stars?|score|value|grade|vote|points?"
TITLE: Final = r"title|name|label|headline"


@dataclass
class Sample:
    """The first rows of a file; empty cells are ""."""

    file: File
    cells: pd.DataFrame

    def called(self, names: str) -> str | None:
        """The first column with a word of its name in ``names``, also as a plural or before ``id``."""
        for column in self.file.columns:
            words = re.sub(r"([a-z])([A-Z])", r"\1_\2", column).lower()
            if re.search(rf"(^|[^a-z])({names})s?(_?id)?([^a-z]|$)", words):
                return column
        return None


def propose(folder: Path) -> str:
    """The text of a dataset.toml. Raises StepError where no file looks like interactions."""
    if not folder.is_dir():
        raise StepError(
            f"{folder} is no folder: name the one that holds the files (a zip: unpack it first)."
        )
    name = re.sub(r"[^\w.-]", "-", folder.resolve().name)
    with movielens.files_of(folder) as files, database() as connection:
        if movielens.layout_of(files):
            raise StepError(
                f"{folder} holds MovieLens, which needs no {DECLARATION}: make demo {_data(folder)}"
            )
        samples = [
            _sample(connection, each, files[each])
            for each in sorted(files)
            if each.endswith(READ)
        ]
        if not samples:
            raise StepError(f"{folder} holds no file that ends with {', '.join(READ)}.")
        for sample in samples:
            user, item, time = map(sample.called, (USER, ITEM, TIME))
            if user and item and time:
                others = [each for each in samples if each is not sample]
                unit = times.likely_unit(connection, sample.cells[time].max())
                lines = [
                    "# Proposed from the first rows of each file. Read it, correct it: every line here is a guess.",
                    f"name = {_toml(name or 'my-data')}",
                    *_events(sample, user, item, time, unit),
                    *_listed(
                        USERS,
                        user,
                        sample.cells[user],
                        [(each, each.called(USER)) for each in others],
                    ),
                    *_listed(
                        ITEMS,
                        item,
                        sample.cells[item],
                        [(each, each.called(ITEM)) for each in others],
                    ),
                    "",
                    "[holdout]  # each user's last events, kept for evaluation",
                    "share = 0.1  # or last = 10",
                    "",
                ]
                text = "\n".join(lines)
                declaration.parse(text)  # check that it can be read
                return text
    seen = "; ".join(
        f"{sample.file.name}: {', '.join(sample.file.columns)}" for sample in samples
    )
    raise StepError(
        f"no file of {folder} looks like interactions, with a column each for user, item and time. Found: {seen}. "
        f"Write {DECLARATION} by hand, as the chapter 'Your own data' shows."
    )


def _sample(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> Sample:
    """Read the first rows of a file. Raises StepError if it seems to have no header."""
    file = opened(connection, name, path)
    for column in file.columns:
        if re.match(r"\s*[-+]?\d", column):
            raise StepError(
                f"{name} seems to have no header, as a column is called {column!r}: "
                "put the names of the columns on its first line."
            )
    rows = f"SELECT * FROM {file.scan(strict=False)} LIMIT {SAMPLE}"
    texts = connection.execute(
        f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({rows})", [str(path)]
    ).df()
    return Sample(file, texts.set_axis(file.columns, axis=1).fillna(""))


def _events(
    sample: Sample, user: str, item: str, time: str, unit: TimeUnit | None
) -> Iterator[str]:
    """The table of events. ``unit``: of its times; None: they are written in a way that has to be declared."""
    yield from (
        "",
        f"[{INTERACTIONS}]  # who did something with what, and when",
        *_file(sample.file),
    )
    for key, column in (("user", user), ("item", item), ("time", time)):
        examples = sample.cells[column].unique()[:3]
        yield f"{key} = {_toml(column)}  # like {', '.join(map(repr, examples))}"
    yield f'time_unit = "{unit or "iso"}"  # "s", "ms", "us" since 1970, or "iso" for times written out'
    if unit is None:
        yield '# time_format = "%d/%m/%Y"  # these times are not ISO 8601: say how they are written'
    value = sample.called(VALUE)
    values = (
        pd.to_numeric(sample.cells[value], errors="coerce").dropna()
        if value
        else pd.Series()
    )
    if value is None or values.empty:
        yield "# value = ...  # no column looks like one: every event counts as liked (implicit feedback)"
        return
    upper = values.min() + 0.6 * (values.max() - values.min())
    above = min(values.median(), values[values <= upper].max())
    yield f"value = {_toml(value)}  # without it every event counts as liked"
    yield f"positive_above = {written(above)}  # an event is liked above this"


def _file(file: File) -> list[str]:
    delimiter = (
        [] if file.delimiter == "," else [f"delimiter = {_toml(file.delimiter)}"]
    )
    return [f"file = {_toml(file.name)}", *delimiter]


def _listed(
    table: str, column: str, ids: pd.Series, keyed: Sequence[tuple[Sample, str | None]]
) -> Iterator[str]:
    """The table whose file lists most of the ``ids`` of the events, each once."""
    for sample, key in keyed:
        if (
            key
            and sample.cells[key].is_unique
            and ids.isin(sample.cells[key]).mean() > 0.5
        ):
            break
    else:
        yield from ("", f"# [{table}]: no file lists every {_toml(column)} once")
        return
    yield from (
        "",
        f"[{table}]  # every {table[:-1]} once",
        *_file(sample.file),
        f"id = {_toml(key)}",
    )
    rest = [column for column in sample.file.columns if column != key]
    title = sample.called(TITLE)
    if table == ITEMS and title in rest:
        rest.remove(title)
        yield f"title = {_toml(title)}"
    separator = max(
        SEPARATORS,
        key=lambda mark: sum(_split(sample.cells[column], mark) for column in rest),
    )
    yield f"separator = {_toml(separator)}  # between several values in one cell"
    yield f"[{table}.attributes]"
    for column in rest:
        cells = sample.cells[column]
        several = (
            sample.file.type(column).endswith("[]") or _split(cells, separator) > MANY
        )
        kind = "multi-valued" if several else _kind(cells)
        if kind is None:
            yield f"# {_toml(column)}: left out, as {cells.nunique():,} of {len(cells):,} values differ"
        elif column in TAKEN or SEPARATOR in column:
            name = f"own {column}".replace(SEPARATOR, " ")
            yield f'{_toml(name)} = {{ kind = "{kind}", column = {_toml(column)} }}'
        else:
            yield f'{_toml(column)} = "{kind}"'


def _split(cells: pd.Series, separator: str) -> float:
    """The share of cells that a separator splits into values that occur in other cells too; 0 if they do not."""
    given = cells[cells != ""]
    values = given.str.split(separator, regex=False).explode()
    if values.nunique() > 0.5 * len(values):
        return 0.0
    return float(given.str.contains(separator, regex=False).mean())


def _kind(cells: pd.Series) -> Kind | None:
    """The kind of a column of single values; None if nearly all of them differ."""
    given = cells[cells != ""]
    if (
        given.nunique() > FEW_NUMBERS
        and pd.to_numeric(given, errors="coerce").notna().mean() > 0.99
    ):
        return "numeric"
    few = given.nunique() <= max(0.5 * len(given), FEW_NUMBERS)
    return "categorical" if few and given.nunique() <= MOST_CATEGORIES else None


def _data(folder: Path) -> str:
    return f"RECSYS_DATA={shlex.quote(str(folder))}"


def _toml(text: str | None) -> str:
    return json.dumps(text, ensure_ascii=False)


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
