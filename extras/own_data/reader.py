"""Read a data set that a dataset.toml declares, in the order in which its tables depend on one another.

Users and items that are listed come first, then the events, which may only name listed ids. Own ids get numbers, values
become codes of a few levels, attributes the forms that models read. All of it is checked before anything is written;
events are kept, joined and sorted by DuckDB on disk: the ids have to fit into memory, and 17 bytes an event.
"""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import (
    MAX_BYTES,
    MAX_INTEGER,
    SEPARATOR,
    Dataset,
    IdKind,
    ItemNumber,
)
from data_exchange_center.steps import StepError
from extras.own_data import attributes, declaration, times
from extras.own_data.declaration import (
    DECLARATION,
    INTERACTIONS,
    ITEMS,
    USERS,
    InteractionsTable,
    ItemsTable,
    Kind,
    UsersTable,
)
from extras.own_data.tables import ENDINGS, Table, database, opened, quoted
from offline.data.terms import slugs
from offline.movielens import Files

EXPECTED: Final = (
    f"{DECLARATION} and the files that it names (make new-data folder=... proposes one)"
)
MOST_OF_ONE_USER: Final = 200_000  # events: more are no person's
FEWEST: Final = 2  # users, and items: with one there is nothing to tell apart


def read(files: Files, where: Path, exchange_dir: Path) -> Dataset | None:
    """Read a declared data set and write `artifacts.RAW_INTERACTIONS`, `RAW_USERS` and `RAW_ITEMS`.

    Args:
        files: every file of the data set, by name.
        where: the folder or zip that they are from, for messages.

    Returns None where there is no dataset.toml. Raises StepError, naming file, line and column, before anything is
    written.
    """
    if DECLARATION not in files:
        if any(f"{INTERACTIONS}{ending}" in files for ending in ENDINGS):
            raise StepError(
                f"{where} holds {INTERACTIONS} and no {DECLARATION} that says what its columns mean: "
                f"make new-data folder={shlex.quote(str(where))} proposes one."
            )
        return None
    try:
        text = files[DECLARATION].read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise StepError(f"{where / DECLARATION} is not UTF-8 ({error}).") from error
    declared = declaration.parse(text, str(where / DECLARATION))
    with database() as connection:
        source = _Source(connection, files, where)
        users = _users(source, declared.users)
        items = _items(source, declared.items)
        events = _events(source, declared.interactions, users.table, items.table)
        levels = attributes.ONE_LEVEL
        if declared.interactions.positive_above is not None:
            above, every = (
                declared.interactions.positive_above,
                declared.interactions.levels or (),
            )
            levels = attributes.levels(connection, "timed", above, every)

        user_ids, people = _numbered(events, users.table, "userid", Columns.USER)
        item_ids, things = _numbered(events, items.table, "itemid", Columns.ITEM)
        people = people.assign(**users.columns).sort_values(
            Columns.USER, ignore_index=True
        )
        nothing: dict[str, Any] = {
            Columns.TITLE: things[Columns.OWN_ID],
            Columns.GENRES: [[]] * len(things),
        }
        things = things.assign(**nothing | items.columns).sort_values(
            Columns.ITEM, ignore_index=True
        )
        things[Columns.TITLE] = things[Columns.TITLE].where(
            things[Columns.TITLE] != "", things[Columns.OWN_ID]
        )

        # write the tables; events are sorted on disk
        rows = connection.sql(
            "SELECT u.number AS userid, i.number AS itemid, rating, CAST(micros // 1000000 AS BIGINT) AS timestamp "
            f"FROM (SELECT *, CAST({levels.code} AS TINYINT) AS rating FROM timed) "
            "JOIN userid_numbers u ON userid = u.id JOIN itemid_numbers i ON itemid = i.id "
            "ORDER BY u.number, micros, file, row"
        )
        artifacts.RAW_INTERACTIONS.write(exchange_dir, rows.to_arrow_table())
        artifacts.RAW_USERS.write(exchange_dir, people)
        artifacts.RAW_ITEMS.write(exchange_dir, things)
        n_terms = things[Columns.GENRES].explode().nunique()
        return Dataset(
            name=declared.name,
            origin="",
            counts={
                "ratings": len(events),
                "users": len(people),
                "items": len(things),
                "genres": n_terms,
            },
            sha256={},
            user_ids=user_ids,
            item_ids=item_ids,
            levels=levels.values,
            binned=levels.binned,
            positive_level=levels.positive,
            profile=tuple(users.columns),
            crossed=users.crossed,
            terms=items.terms,
            numbers=items.numbers,
            holdout=declared.holdout,
            events=declared.events,
            repeats=declared.repeats,
            recipe=declared.recipe,
        )


@dataclass(frozen=True)
class _Source:
    """The files of a data set, and the database that they are loaded into."""

    connection: duckdb.DuckDBPyConnection
    files: Files
    where: Path  # for messages

    def table(
        self,
        name: str,
        declared: InteractionsTable | UsersTable | ItemsTable,
        columns: Mapping[str, str],
        lists: Sequence[str] = (),
    ) -> Table:
        """Load a declared table.

        Args:
            columns: names in DuckDB -> in the files, ``userid`` or ``itemid`` among them.
            lists: columns that may hold lists.

        Raises StepError as `Table.load`; and for a missing or ambiguous file, no row, an invalid id.
        """
        patterns = (
            [declared.file]
            if declared.file
            else [f"{name}{ending}" for ending in ENDINGS]
        )
        found = [
            each
            for pattern in patterns
            for each in fnmatch.filter(sorted(self.files), pattern)
        ]
        if not found:
            there = ", ".join(sorted(set(self.files) - {DECLARATION})) or "nothing else"
            raise StepError(
                f"{self.where} holds no {' or '.join(patterns)}, which [{name}] in {DECLARATION} speaks of; "
                f"it holds {there}."
            )
        if len(found) > 1 and not declared.file:
            raise StepError(
                f'{self.where} holds {" and ".join(found)}: say which with file = "..." in [{name}].'
            )

        files = [
            opened(self.connection, each, self.files[each], declared.delimiter)
            for each in found
        ]
        table = Table(self.connection, name, files, columns)
        table.load(lists)
        if not len(table):
            each = "an event" if name == INTERACTIONS else "for every id"
            raise StepError(
                f"{table.label} holds no row under its header: a row {each} is expected."
            )
        for column in columns:
            if column in ("userid", "itemid"):
                table.expect(f"{column} IS NOT NULL", column, "an id")
                table.expect(
                    f"strlen({column}) <= {MAX_BYTES}",
                    column,
                    f"an id of at most {MAX_BYTES} bytes",
                )
        return table


# ------------------------------------------------------------------------------------------------------ users and items


@dataclass(frozen=True)
class _Listed:
    """A table that lists ids, and its attributes in the order of its rows.

    Attributes:
        columns: of users: the profile; of items: title, terms, numbers.
        crossed: names of users' columns; ``terms``: names of items' attributes.
    """

    table: Table | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    crossed: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    numbers: tuple[ItemNumber, ...] = ()


def _users(source: _Source, declared: UsersTable | None) -> _Listed:
    """The users and their attributes, in the form of categories."""
    if declared is None:
        return _Listed()
    table = _load_listed(source, USERS, declared, "userid")
    columns: dict[str, pd.Series] = {}  # by name, before it is a column
    plain = []
    for number, (name, spec) in enumerate(declared.attributes.items()):
        values = _values(table, f"a{number}", spec.kind, declared.separator)
        if spec.kind == "multi-valued":
            fields = attributes.fields(values, spec.values or attributes.MOST_FIELDS)
            columns |= {f"{name} {value}": column for value, column in fields.items()}
            continue
        plain.append(name)
        if spec.kind == "numeric":
            columns[name] = attributes.intervals(
                values, spec.values or attributes.INTERVALS
            )
        else:
            most = spec.values or attributes.MOST_CATEGORIES
            columns[name] = attributes.categories(
                values, most, numbers=f"a{number}" not in table.texts
            )
    named = dict(zip(columns, slugs(list(columns), Columns.TAKEN), strict=True))
    crossed = plain[:2] if declared.crossed is None else declared.crossed
    return _Listed(
        table,
        columns={named[name]: column for name, column in columns.items()},
        crossed=tuple(named[name] for name in crossed),
    )


def _items(source: _Source, declared: ItemsTable | None) -> _Listed:
    """The items with their titles, terms and numbers."""
    if declared is None:
        return _Listed()
    titles = (
        [declared.title]
        if isinstance(declared.title, str)
        else list(declared.title or ())
    )
    table = _load_listed(source, ITEMS, declared, "itemid", titles)
    columns: dict[str, Any] = {}
    if titles:
        parts = ", ".join(f"title{number}" for number in range(len(titles)))
        columns[Columns.TITLE] = table.read(f"concat_ws(' ', {parts})")

    numeric = [
        name for name, spec in declared.attributes.items() if spec.kind == "numeric"
    ]
    of_terms = [
        name for name, spec in declared.attributes.items() if spec.kind != "numeric"
    ]
    number_columns = dict(zip(numeric, slugs(numeric, Columns.TAKEN), strict=True))
    terms: list[list[str]] = [[] for _ in range(len(table))]
    numbers = []
    for number, (name, spec) in enumerate(declared.attributes.items()):
        values = _values(table, f"a{number}", spec.kind, declared.separator)
        if spec.kind == "numeric":
            columns[number_columns[name]] = values
            numbers.append(
                attributes.item_number(name, number_columns[name], spec, values)
            )
            continue
        if spec.kind == "categorical":
            values = [[value] if value else [] for value in values]
        kept = set(
            attributes.frequent(
                chain.from_iterable(values), spec.values or attributes.MOST_TERMS
            )
        )
        before = "" if len(of_terms) == 1 else f"{name}{SEPARATOR}"  # as `Dataset.term`
        for own, values_of_one in zip(terms, values, strict=True):
            own += [before + value for value in values_of_one if value in kept]
    columns[Columns.GENRES] = terms
    return _Listed(table, columns, terms=tuple(of_terms), numbers=tuple(numbers))


def _load_listed(
    source: _Source,
    name: str,
    declared: UsersTable | ItemsTable,
    key: str,
    titles: Sequence[str] = (),
) -> Table:
    """Load a table that lists every id once; its attributes are ``a0``, ``a1`` and so on, its titles ``title0``.

    Raises StepError for an id in two rows, unless the last row is to be kept.
    """
    columns = {key: declared.id}
    columns |= {
        f"a{number}": spec.column or each
        for number, (each, spec) in enumerate(declared.attributes.items())
    }
    columns |= {f"title{number}": each for number, each in enumerate(titles)}
    lists = [
        f"a{n}"
        for n, spec in enumerate(declared.attributes.values())
        if spec.kind == "multi-valued"
    ]
    table = source.table(name, declared, columns, lists)
    if declared.keep == "last":
        table.connection.execute(
            f"DELETE FROM {name} USING (SELECT {key} AS id, max((file, row)) AS place FROM {name} GROUP BY {key}) last "
            f"WHERE {key} = last.id AND (file, row) <> last.place"
        )
    second = f"SELECT (file, row) FROM {name} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY file, row) = 2"
    place = table.first(f"(file, row) IN ({second})")
    if place is not None:
        own_id = table.cell(place, key)
        file, row = table.first(f"{key} = {quoted(own_id)}") or place
        before = table.files[file].where(row)
        raise StepError(
            f"{table.at(place, key)}: {own_id!r} is there already, in {before}; list every id once."
        )
    return table


def _values(table: Table, column: str, kind: Kind, separator: str) -> Any:
    """An attribute in the order of the rows: texts, lists of texts, or an array of numbers.

    Raises StepError for a cell that is not a number where one is expected.
    """
    if kind == "numeric":
        number, largest = f"TRY_CAST({column} AS DOUBLE)", attributes.LARGEST_STORED
        table.expect(f"{column} IS NULL OR isfinite({number})", column, "a number")
        bounded = f"{column} IS NULL OR abs({number}) <= {largest}"
        table.expect(bounded, column, f"a number of at most {largest:.0e} either way")
        return np.array(table.read(number), np.float64)  # None: NaN
    cells = table.read(column)
    if kind == "categorical":
        return cells
    return [_split(cell, separator) for cell in cells]


def _split(cell: Any, separator: str) -> list[str]:
    """The values in a cell: a list, or a text with separators in it."""
    if cell is None:
        return []
    values = cell.split(separator) if isinstance(cell, str) else cell
    return [value.strip() for value in values if value and value.strip()]


# --------------------------------------------------------------------------------------------------------------- events


def _events(
    source: _Source,
    declared: InteractionsTable,
    users: Table | None,
    items: Table | None,
) -> Table:
    """The table of events, checked; ``timed`` has them with ``micros`` and ``number`` (the value, 0 without one).

    Raises StepError for a cell that is not as declared, an id that is not listed, no events, too many of one user, too
    few users or items.
    """
    columns = {"userid": declared.user, "itemid": declared.item, "time": declared.time}
    if declared.value is not None:
        columns["value"] = declared.value
    events = source.table(INTERACTIONS, declared, columns)
    if users is not None:
        _expect_listed(events, "userid", users)
    if items is not None:
        _expect_listed(events, "itemid", items)
    micros = times.microseconds(events, declared)
    number = "0.0"
    if declared.value is not None:
        number = "TRY_CAST(value AS DOUBLE)"
        events.expect(f"isfinite({number})", "value", "a number")
    if declared.levels is not None:
        levels = ", ".join(f"{level:g}" for level in declared.levels)
        events.expect(f"{number} IN {declared.levels}", "value", f"one of {levels}")
    busy = (
        f"GROUP BY userid HAVING count(*) > {MOST_OF_ONE_USER} ORDER BY userid LIMIT 1"
    )
    user = events.one(f"SELECT userid FROM {INTERACTIONS} {busy}")
    if user is not None:
        raise StepError(
            f"{events.label}: {declared.user} {user!r} has more than {MOST_OF_ONE_USER:,} events, which are no "
            "person's; leave this user out."
        )
    _expect_two("user", "userid", events)  # a user who is listed may have no event
    _expect_two("item", "itemid", items or events)
    source.connection.execute(
        f"CREATE TABLE timed AS SELECT file, row, userid, itemid, {micros} AS micros, {number} AS number "
        f"FROM {INTERACTIONS}"
    )
    times.expect_recent(
        events, events.one("SELECT max(micros) // 1000000 FROM timed"), declared
    )
    return events


def _expect_listed(events: Table, column: str, listed: Table) -> None:
    """Raise StepError for the first event whose id ``listed`` lacks."""
    place = events.first(f"{column} NOT IN (SELECT {column} FROM {listed.name})")
    if place is None:
        return
    alike = f"WHERE trim({column}) = trim(?) ORDER BY file, row LIMIT 1"
    blank = listed.one(
        f"SELECT {column} FROM {listed.name} {alike}", events.cell(place, column)
    )
    hint = "" if blank is None else f"; {blank!r} is listed, and blanks count"
    events.refuse(place, column, f"an id that is listed in {listed.label}", hint)


def _expect_two(what: str, column: str, table: Table) -> None:
    met = table.one(f"SELECT count(DISTINCT {column}) FROM {table.name}")
    if met < FEWEST:
        raise StepError(
            f"{table.label} holds {met} {what}; at least {FEWEST} are needed: there is nothing to recommend otherwise."
        )


# ------------------------------------------------------------------------------------------------------------------ ids


def _numbered(
    events: Table, listed: Table | None, key: str, column: str
) -> tuple[IdKind, pd.DataFrame]:
    """Give every own id a number, in a table ``<key>_numbers``. Returns the kind, and numbers and ids as a frame.

    "integer" if every own id is a whole number from 1 to `MAX_INTEGER`, which is its number; else "string", and ids are
    numbered from 1 in order, whole numbers first. The frame is in the order of the table that lists the ids, else by
    number.
    """
    table = listed or events
    small = f"regexp_full_match({key}, '[1-9][0-9]*') AND TRY_CAST({key} AS HUGEINT) BETWEEN 1 AND {MAX_INTEGER}"
    kind: IdKind = (
        "integer" if table.first(f"({small}) IS NOT TRUE") is None else "string"
    )
    number = (
        "id"
        if kind == "integer"
        else "row_number() OVER (ORDER BY TRY_CAST(id AS HUGEINT), id)"
    )
    table.connection.execute(
        f"CREATE TABLE {key}_numbers AS SELECT id, CAST({number} AS INTEGER) AS number "
        f"FROM (SELECT DISTINCT {key} AS id FROM {table.name})"
    )
    query = f"SELECT number, id FROM {key}_numbers ORDER BY number"
    if listed is not None:
        query = f"SELECT number, id FROM {listed.name} JOIN {key}_numbers ON {key} = id ORDER BY file, row"
    found = table.connection.execute(query).fetchnumpy()
    return kind, pd.DataFrame(
        {column: np.asarray(found["number"], np.int32), Columns.OWN_ID: found["id"]}
    )
