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
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import pandas as pd

from data_exchange_center.dataset import SEPARATOR
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.own_data import declaration
from extras.own_data.attributes import MOST_CATEGORIES, written
from extras.own_data.declaration import (
    DECLARATION,
    INTERACTIONS,
    ITEMS,
    MOST_LEVELS,
    TAKEN,
    USERS,
)
from extras.own_data.tables import ENDINGS, File, database, opened
from offline import movielens

READ: Final = (*ENDINGS, ".tsv", ".tsv.gz", ".txt")
SAMPLE: Final = 20_000  # rows looked at of each file
MANY: Final = 0.3  # share of cells with a "|" in them, if it separates values
FEW_NUMBERS: Final = 20  # up to this many distinct numbers may be codes
# units of times after 1990, by their digits
UNITS: Final = {9: "s", 10: "s", 12: "ms", 13: "ms", 15: "us", 16: "us"}
USER: Final = r"user|customer|member|client|visitor|account|person|buyer|reader|uid|who"
ITEM: Final = (
    r"item|product|sku|movie|film|article|song|track|book|video|page|offer|good|what"
)
TIME: Final = r"time|date|timestamp|ts|at|when|day|seen|created"
VALUE: Final = r"rating|stars?|score|value|grade|vote|points?"
TYPE: Final = r"type|kind|event|action|activity|behaviou?r"
# what a type of events is called -> its rules in a proposal; the first that fits
TYPES: Final = (
    (r"return|refund|hide|dislike|remove|block|skip", "weight = 1.0, negative = true"),
    (
        r"buy|bought|purchase|order|sale|transaction",
        "weight = 1.0, target = true, has = true",
    ),
    (r"cart|basket|wish|fav|save|like", "weight = 0.3, target = true"),
    (r"", "weight = 0.1, target = true"),
)
TITLE: Final = r"title|name|label|headline"
# the first rows of each file as texts, by its name; empty cells are ""
Samples = dict[str, pd.DataFrame]


def propose(folder: Path) -> str:
    """The text of a dataset.toml. Raises StepError where no file looks like interactions."""
    if not folder.is_dir():
        raise StepError(f"{folder} is no folder: name the one that holds the files.")
    name = re.sub(r"[^\w.-]", "-", folder.resolve().name)
    with movielens.files_of(folder) as files, database() as connection:
        if movielens.layout_of(files):
            raise StepError(f"{folder} holds MovieLens, which needs no {DECLARATION}.")
        samples = {
            each: _sample(connection, opened(connection, each, path))
            for each, path in sorted(files.items())
            if each.endswith(READ)
        }
    for file, cells in samples.items():
        user, item, time = (_called(cells, names) for names in (USER, ITEM, TIME))
        if user and item and time:
            others = {each: samples[each] for each in samples if each != file}
            lines = [
                "# Proposed from the first rows of each file. Read it, correct it: every line here is a guess.",
                f"name = {_toml(name)}",
                f"\n[{INTERACTIONS}]  # who did something with what, and when",
                f"file = {_toml(file)}",
                *_events(cells, user, item, time),
                *_listed(USERS, cells[user], USER, others),
                *_listed(ITEMS, cells[item], ITEM, others),
                "\n[holdout]  # each user's last events, kept for evaluation",
                "share = 0.1  # or last = 10\n",
            ]
            text = "\n".join(lines)
            declaration.parse(text)  # check that it can be read
            return text
    found = [f"{each}: {', '.join(cells.columns)}" for each, cells in samples.items()]
    raise StepError(
        f"no file of {folder} ({', '.join(READ)}) looks like interactions, with a column each for user, item and time. "
        f"Found: {'; '.join(found) or 'none'}. Write {DECLARATION} by hand, as the chapter 'Your own data' shows."
    )


def _sample(connection: duckdb.DuckDBPyConnection, file: File) -> pd.DataFrame:
    """Read the first rows of a file. Raises StepError if it seems to have no header."""
    for column in file.columns:
        if re.match(r"\s*[-+]?\d", column):
            raise StepError(
                f"{file.name} seems to have no header, as a column is called {column!r}: "
                "put the names of the columns on its first line."
            )
    rows = f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM {file.scan(strict=False)} LIMIT {SAMPLE}"
    texts = connection.execute(rows, [str(file.path)]).df()
    return texts.set_axis(list(file.columns), axis=1).fillna("")


def _called(cells: pd.DataFrame, names: str) -> str | None:
    """The first column with a word of its name in ``names``, also as a plural or before ``id``."""
    for column in cells.columns.tolist():
        words = re.sub(r"([a-z])([A-Z])", r"\1_\2", column).lower()
        if re.search(rf"(^|[^a-z])({names})s?(_?id)?([^a-z]|$)", words):
            return column
    return None


def _events(cells: pd.DataFrame, user: str, item: str, time: str) -> Iterator[str]:
    """The columns of the table of events."""
    for key, column in (("user", user), ("item", item), ("time", time)):
        yield f"{key} = {_toml(column)}  # like {', '.join(cells[column].unique()[:3])}"
    unit = UNITS.get(len(cells[time].max()), "iso")
    yield f'time_unit = "{unit}"  # "s", "ms", "us" since 1970, or "iso" for times written out'
    yield '# time_format = "%d/%m/%Y"  # where they are not written as ISO 8601 says'
    rest = cells.drop(columns=[user, item, time])
    kind, value = _called(rest, TYPE), _called(rest, VALUE)
    if kind is not None and 1 < cells[kind].nunique() <= MOST_LEVELS:
        yield f"type = {_toml(kind)}  # a few values: events of several types"
        yield "\n[types]  # what an event says: weight, history, target, negative, has"
        for name, count in cells.loc[cells[kind] != "", kind].value_counts().items():
            word = str(name).lower()
            rules = next(rules for called, rules in TYPES if re.search(called, word))
            yield f"{_toml(name)} = {{ {rules} }}  # {count:,} of the first rows"
        return
    values = pd.to_numeric(cells.get(value, pd.Series()), errors="coerce").dropna()
    if values.nunique() > 1:
        above = values[values < values.max()].median()
        yield f"value = {_toml(value)}  # without it every event counts as liked"
        yield f"positive_above = {written(above)}  # an event is liked above this"


def _listed(table: str, ids: pd.Series, names: str, samples: Samples) -> Iterator[str]:
    """The table of the first file that lists most of the ``ids`` of the events, each once."""
    keys = {file: _called(cells, names) for file, cells in samples.items()}
    fitting = (
        file
        for file, key in keys.items()
        if key and samples[file][key].is_unique
        if ids.isin(samples[file][key]).mean() > 0.5
    )
    file = next(fitting, None)
    if file is None:
        yield f"\n# [{table}]: no file lists every {_toml(ids.name)} once"
        return
    yield f"\n[{table}]  # every {table[:-1]} once"
    yield f"file = {_toml(file)}"
    key = keys[file]
    yield f"id = {_toml(key)}"
    rest = samples[file].drop(columns=key)
    title = _called(rest, TITLE)
    if table == ITEMS and title:
        rest = rest.drop(columns=title)
        yield f"title = {_toml(title)}"
    yield 'separator = "|"  # between several values in one cell'
    yield f"[{table}.attributes]"
    for column in rest.columns.tolist():
        kind = _kind(rest[column])
        if kind is None or column in TAKEN or SEPARATOR in column:
            yield f"# {_toml(column)}: left out, as most values differ, or no attribute can be called so"
        else:
            yield f"{_toml(column)} = {_toml(kind)}"


def _kind(cells: pd.Series) -> str | None:
    """The kind of a column; None if nearly all values differ."""
    given = cells[cells != ""]
    # or a list in Parquet
    if given.str.contains(r"^\[|\|").mean() > MANY:
        return "multi-valued"
    different = given.nunique()
    numbers = pd.to_numeric(given, errors="coerce")
    if different > FEW_NUMBERS and numbers.notna().all():
        return "numeric"
    most = min(max(0.5 * len(given), FEW_NUMBERS), MOST_CATEGORIES)
    return "categorical" if different <= most else None


def _toml(text: object) -> str:
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
    data = shlex.quote(str(folder))
    print(text)  # noqa: T201
    print(f"Written: {target}. Read and correct it: make demo RECSYS_DATA={data}")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    run(lambda settings: main(settings, given.folder))
