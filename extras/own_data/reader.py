"""Read a data set that a dataset.toml declares, in the order in which its tables depend on one another.

Users and items that are listed come first, then the events, which may only name listed ids. Own ids get numbers, values
become codes of a few levels, attributes the forms that models read. All of it is checked before anything is written;
events are kept, joined and sorted by DuckDB on disk: the ids have to fit into memory, and 17 bytes an event.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from data_exchange_center.event_types import EventType, in_order
from data_exchange_center.steps import StepError
from extras.own_data import attributes, declaration
from extras.own_data.declaration import (
    DECLARATION,
    INTERACTIONS,
    ITEMS,
    USERS,
    DeclaredTable,
    InteractionsTable,
    ItemsTable,
    ListedTable,
)
from extras.own_data.tables import ENDINGS, Table, database, opened, quoted
from offline.data.terms import slugs
from offline.movielens import AHEAD_S, Files

EXPECTED: Final = (
    f"{DECLARATION} and the files that it names (make new-data folder=... proposes one)"
)
MOST_OF_ONE_USER: Final = 200_000  # events: more are no person's
FEWEST: Final = 2  # users, and items: with one there is nothing to tell apart
PLAUSIBLE: Final = 631_152_000  # seconds: 1990; a data set whose newest event is older is in a coarser unit
MICROS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}  # in each unit


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
    text = files[DECLARATION].read_text(encoding="utf-8-sig", errors="replace")
    declared = declaration.parse(text, str(where / DECLARATION))
    with database() as connection:
        source = _Source(connection, files, where)
        users, profile = _users(source, declared.users)
        items, of_items, numbers = _items(source, declared.items)
        types = in_order(declared.types)
        events = _events(source, declared.interactions, types, users, items)
        levels = attributes.levels(connection, "timed", declared.interactions, types)

        user_ids, people = _numbered(events, users, "userid", Columns.USER)
        item_ids, things = _numbered(events, items, "itemid", Columns.ITEM)
        people = people.assign(**profile)
        own_ids = things[Columns.OWN_ID]
        bare: dict[str, Any] = {
            Columns.TITLE: own_ids,
            Columns.GENRES: [[]] * len(things),
        }
        things = things.assign(**bare | of_items)

        # write the tables; events are sorted on disk
        rows = connection.sql(
            "SELECT u.number AS userid, i.number AS itemid, rating, CAST(micros // 1000000 AS BIGINT) AS timestamp "
            f"FROM (SELECT *, CAST({levels.code} AS TINYINT) AS rating FROM timed) "
            "JOIN userid_numbers u ON userid = u.id JOIN itemid_numbers i ON itemid = i.id "
            "ORDER BY u.number, micros, row"
        ).to_arrow_table()
        artifacts.RAW_INTERACTIONS.write(exchange_dir, rows)
        people = people.sort_values(Columns.USER, ignore_index=True)
        artifacts.RAW_USERS.write(exchange_dir, people)
        things = things.sort_values(Columns.ITEM, ignore_index=True)
        artifacts.RAW_ITEMS.write(exchange_dir, things)
        counts = {
            "ratings": rows.num_rows,
            "users": len(people),
            "items": len(things),
            "genres": things[Columns.GENRES].explode().nunique(),
        }
        return Dataset(
            name=declared.name,
            origin="",
            counts=counts,
            sha256={},
            user_ids=user_ids,
            item_ids=item_ids,
            levels=tuple(levels.values),
            binned=levels.binned,
            positive_level=levels.positive,
            profile=tuple(profile),
            crossed=tuple(profile)[:2],
            terms=_terms(declared.items),
            numbers=tuple(numbers),
            holdout=declared.holdout,
            events=declared.events,
            repeats=declared.repeats,
            recipe=declared.recipe,
            types=types,
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
        declared: DeclaredTable,
        columns: Mapping[str, str],
        separators: Mapping[str, str] = {},
    ) -> Table:
        """Load a declared table.

        Args:
            columns: names in DuckDB -> in the files, ``userid`` or ``itemid`` among them.
            separators: as of `Table.load`.

        Raises StepError as `Table.load`; and for a missing or ambiguous file, no row, an invalid id.
        """
        names = [f"{name}{ending}" for ending in ENDINGS]
        if declared.file:
            names = [declared.file]
        found = [each for each in names if each in self.files]
        if len(found) != 1:
            there = ", ".join(sorted(self.files.keys() - {DECLARATION}))
            raise StepError(
                f"[{name}] in {DECLARATION} speaks of one file, {' or '.join(names)}; {self.where} holds "
                f'{there or "nothing else"}. Say which it is: file = "..." in [{name}].'
            )
        path = self.files[found[0]]
        file = opened(self.connection, found[0], path, declared.delimiter)
        table = Table(self.connection, name, file, columns)
        table.load(separators)
        if table.one(f"SELECT row FROM {name} LIMIT 1") is None:
            raise StepError(f"{file.name} holds no row under its header.")
        expected = f"an id of at most {MAX_BYTES} bytes"
        for column in ("userid", "itemid"):
            if column in columns:
                table.expect(f"strlen({column}) <= {MAX_BYTES}", column, expected)
        return table


# ------------------------------------------------------------------------------------------------------ users and items


def _users(
    source: _Source, declared: ListedTable | None
) -> tuple[Table | None, dict[str, pd.Series]]:
    """The users, and the columns of their attributes in the form of categories."""
    if declared is None:
        return None, {}
    table = _load_listed(source, USERS, declared, "userid")
    columns: dict[str, pd.Series] = {}  # by name, before it is a column
    for number, (name, spec) in enumerate(declared.attributes.items()):
        cells = f"a{number}"
        if spec.kind == "multi-valued":
            fields = attributes.fields(table.read(cells), spec)
            columns |= {f"{name} {value}": column for value, column in fields.items()}
        elif spec.kind == "numeric":
            columns[name] = attributes.intervals(_numbers(table, cells), spec)
        else:
            columns[name] = attributes.categories(table.read(cells), spec)
    named = dict(zip(columns, slugs(list(columns), Columns.TAKEN), strict=True))
    return table, {named[name]: column for name, column in columns.items()}


def _terms(declared: ItemsTable | None) -> tuple[str, ...]:
    """The attributes of items whose values are terms."""
    specs = declared.attributes if declared else {}
    return tuple(name for name, spec in specs.items() if spec.kind != "numeric")


def _items(
    source: _Source, declared: ItemsTable | None
) -> tuple[Table | None, dict[str, Any], list[ItemNumber]]:
    """The items, the columns of their titles, terms and numbers, and what numbers there are."""
    if declared is None:
        return None, {}, []
    titles = {"title": declared.title} if declared.title else {}
    table = _load_listed(source, ITEMS, declared, "itemid", titles)
    title = table.read(f"coalesce({', '.join([*titles, 'itemid'])})")

    specs, of_terms = declared.attributes, _terms(declared)
    numeric = [name for name in specs if name not in of_terms]
    number_columns = dict(zip(numeric, slugs(numeric, Columns.TAKEN), strict=True))
    columns: dict[str, Any] = {}
    numbers = []
    terms: list[list[str]] = [[] for _ in title]
    for number, (name, spec) in enumerate(specs.items()):
        cells = f"a{number}"
        if spec.kind == "numeric":
            column = number_columns[name]
            columns[column] = _numbers(table, cells)
            numbers.append(attributes.item_number(name, column, spec, columns[column]))
            continue
        if spec.kind == "categorical":
            cells = f"list_filter([{cells}], lambda each: each IS NOT NULL)"
        values = table.read(cells)
        most = spec.values or attributes.MOST_TERMS
        kept = set(attributes.frequent(chain.from_iterable(values), most))
        before = "" if len(of_terms) == 1 else f"{name}{SEPARATOR}"  # as `Dataset.term`
        for own, values_of_one in zip(terms, values, strict=True):
            own += [before + value for value in values_of_one if value in kept]
    return table, {Columns.TITLE: title, **columns, Columns.GENRES: terms}, numbers


def _load_listed(
    source: _Source,
    name: str,
    declared: ListedTable,
    key: str,
    others: Mapping[str, str] = {},
) -> Table:
    """Load a table that lists every id once, its attributes as ``a0``, ``a1`` and so on, and ``others`` columns.

    Raises StepError for an id in two rows, unless the last row is to be kept.
    """
    columns = {key: declared.id, **others}
    separators = {}
    for number, (attribute, spec) in enumerate(declared.attributes.items()):
        columns[f"a{number}"] = spec.column or attribute
        if spec.kind == "multi-valued":
            separators[f"a{number}"] = declared.separator
    table = source.table(name, declared, columns, separators)
    if declared.keep == "last":
        last = f"SELECT max(row) FROM {name} GROUP BY {key}"
        table.connection.execute(f"DELETE FROM {name} WHERE row NOT IN ({last})")
    first = f"SELECT min(row) FROM {name} GROUP BY {key}"
    table.expect(f"row IN ({first})", key, "an id that no row before has")
    return table


def _numbers(table: Table, column: str) -> attributes.Floats:
    """A numeric attribute, NaN where it is empty. Raises StepError for a cell that is not a number."""
    number, most = f"TRY_CAST({column} AS DOUBLE)", attributes.LARGEST_STORED
    table.expect(
        f"{column} IS NULL OR abs({number}) <= {most}",
        column,
        f"a number of at most {most:.0e} either way",
    )
    return np.array(table.read(number), np.float64)


# --------------------------------------------------------------------------------------------------------------- events


def _events(
    source: _Source,
    declared: InteractionsTable,
    types: Sequence[EventType],
    users: Table | None,
    items: Table | None,
) -> Table:
    """The table of events, checked; ``timed`` has them with ``micros`` and ``number`` (the value or the type's code, 0
    without both).

    Raises StepError for a cell that is not as declared, an id that is not listed, no events, too many of one user, too
    few users or items.
    """
    columns = {"userid": declared.user, "itemid": declared.item, "time": declared.time}
    if declared.value is not None:
        columns["value"] = declared.value
    if declared.type is not None:
        columns["type"] = declared.type
    events = source.table(INTERACTIONS, declared, columns)
    for column, listed in (("userid", users), ("itemid", items)):
        if listed is not None:
            known = f"{column} IN (SELECT {column} FROM {listed.name})"
            events.expect(known, column, f"an id that is listed in {listed.file.name}")
    micros = _micros(events, declared)
    number = "0.0"
    if declared.value is not None:
        number = "TRY_CAST(value AS DOUBLE)"
        events.expect(f"isfinite({number})", "value", "a number")
    if types:
        names = [each.name for each in types]
        number = f"list_position([{', '.join(map(quoted, names))}], type)"
        expected = f"one of {', '.join(names)} ([types] in {DECLARATION})"
        events.expect(f"{number} > 0", "type", expected)
        unread = [code for code, each in enumerate(types, 1) if not each.is_read]
        source.connection.execute(
            f"DELETE FROM {INTERACTIONS} WHERE list_contains({unread}, {number})"
        )
    user = events.one(
        f"SELECT userid FROM {INTERACTIONS} GROUP BY userid HAVING count(*) > {MOST_OF_ONE_USER} ORDER BY userid"
    )
    if user is not None:
        raise StepError(
            f"{events.file.name}: {declared.user} {user!r} has more than {MOST_OF_ONE_USER:,} events, which are no "
            "person's; leave this user out."
        )
    # a user who is listed may have no event
    for what, column, table in (
        ("user", "userid", events),
        ("item", "itemid", items or events),
    ):
        met = table.one(f"SELECT count(DISTINCT {column}) FROM {table.name}")
        if met < FEWEST:
            raise StepError(
                f"{table.file.name} holds {met} {what}: at least {FEWEST} are needed."
            )
    source.connection.execute(
        f"CREATE TABLE timed AS SELECT row, userid, itemid, {micros} AS micros, {number} AS number "
        f"FROM {INTERACTIONS}"
    )
    newest = events.one("SELECT max(micros) // 1000000 FROM timed")
    if newest < PLAUSIBLE:
        year = time.gmtime(newest).tm_year
        raise StepError(
            f"{events.file.name}, column {declared.time!r}: the newest time is in {year}, read as "
            f'time_unit = "{declared.time_unit}"; is time_unit right?'
        )
    return events


def _micros(events: Table, declared: InteractionsTable) -> str:
    """Return the SQL expression that converts the column ``time`` to microseconds since 1970 (UTC).

    Raises StepError for the first cell that is no time, or not from 1970 to now.
    """
    unit, form = declared.time_unit, declared.time_format
    if events.file.type(declared.time).startswith(("TIMESTAMP", "DATE")):
        unit, form = "iso", None
    expected = f'a time since 1970 (time_unit = "{unit}")'
    if form is not None:
        expected = f'a time like time_format = "{form}"'
        micros = f"epoch_us(try_strptime(time, {quoted(form)}))"
    elif unit == "iso":
        expected = 'an ISO 8601 time like 2024-05-31T17:45:00Z (time_unit = "iso")'
        # the first mark is checked, as DuckDB also casts 'epoch' and 'infinity'
        micros = "epoch_us(TRY_CAST(CASE WHEN regexp_matches(time, '^\\s*[0-9+-]') THEN time END AS TIMESTAMPTZ))"
    else:
        micros = f"TRY_CAST(floor(TRY_CAST(time AS DOUBLE) * {MICROS[unit]}) AS BIGINT)"
    latest = int(time.time() + AHEAD_S) * 1_000_000
    events.expect(
        f"{micros} BETWEEN 0 AND {latest}",
        "time",
        f"{expected}, from 1970 to now (time_unit and time_format say how times are written),",
    )
    return micros


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
    kind: IdKind = "integer"
    number = "id"
    small = f"regexp_full_match({key}, '[1-9][0-9]*') AND TRY_CAST({key} AS HUGEINT) <= {MAX_INTEGER}"
    if table.first_without(small) is not None:
        kind = "string"
        number = "row_number() OVER (ORDER BY TRY_CAST(id AS HUGEINT), id)"
    table.connection.execute(
        f"CREATE TABLE {key}_numbers AS SELECT id, CAST({number} AS INTEGER) AS number "
        f"FROM (SELECT DISTINCT {key} AS id FROM {table.name})"
    )
    query = f"FROM {key}_numbers ORDER BY number"
    if listed is not None:
        query = f"FROM {listed.name} JOIN {key}_numbers ON {key} = id ORDER BY row"
    found = table.connection.execute(f"SELECT number, id {query}").fetchnumpy()
    return kind, pd.DataFrame(
        {column: np.asarray(found["number"], np.int32), Columns.OWN_ID: found["id"]}
    )
