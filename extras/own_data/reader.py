"""Read a data set that a dataset.toml declares, in the order in which its tables depend on one another.

Users and items that are listed come first, then the events, which may only name listed ids. Own ids get numbers, values
become codes of a few levels, attributes the forms that models read. All of it is checked before anything is written;
events are kept, joined and sorted by DuckDB on disk: the ids have to fit into memory, and 17 bytes an event.
"""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
    AttributeSpec,
    InteractionsTable,
    ItemsTable,
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
        users, profile, crossed = _users(source, declared.users)
        items, catalogue, terms, numbers = _items(source, declared.items)
        events = _events(source, declared.interactions, users, items)

        # levels of the distinct values, and the code of each
        found = connection.execute(
            "SELECT number, count(*) FROM timed GROUP BY number ORDER BY number"
        ).fetchnumpy()
        distinct, counts = map(np.asarray, found.values())
        levels = attributes.ONE_LEVEL
        if declared.interactions.positive_above is not None:
            above, every = (
                declared.interactions.positive_above,
                declared.interactions.levels or (),
            )
            levels = attributes.levels(distinct, counts, above, every)
        connection.register(
            "codes", pd.DataFrame({"number": distinct, "code": levels.codes})
        )

        # attributes are in the order of the rows of their table, and so are the frames
        user_ids, people = _numbered(events, users, "userid", Columns.USER)
        item_ids, things = _numbered(events, items, "itemid", Columns.ITEM)
        people = people.assign(**profile).sort_values(Columns.USER, ignore_index=True)
        nothing: dict[str, Any] = {
            Columns.TITLE: [None] * len(things),
            Columns.GENRES: [[] for _ in range(len(things))],
        }
        things = things.assign(**(nothing | catalogue))
        titles = zip(things[Columns.TITLE], things[Columns.OWN_ID], strict=True)
        things[Columns.TITLE] = [title or own_id for title, own_id in titles]
        things = things.sort_values(Columns.ITEM, ignore_index=True)

        # write the tables; events are sorted on disk
        made = connection.sql(
            "SELECT u.number AS userid, i.number AS itemid, CAST(code AS TINYINT) AS rating, "
            "CAST(micros // 1000000 AS BIGINT) AS timestamp "
            "FROM timed JOIN userid_numbers u ON timed.userid = u.id JOIN itemid_numbers i ON timed.itemid = i.id "
            "JOIN codes ON timed.number = codes.number ORDER BY u.number, micros, timed.file, timed.row"
        )
        artifacts.RAW_INTERACTIONS.write(exchange_dir, made.to_arrow_table())
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
            profile=tuple(profile),
            crossed=crossed,
            terms=terms,
            numbers=numbers,
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
        wanted = (
            [declared.file]
            if declared.file
            else [f"{name}{ending}" for ending in ENDINGS]
        )
        many = "*" in wanted[0]
        found = (
            fnmatch.filter(sorted(self.files), wanted[0])
            if many
            else [each for each in wanted if each in self.files]
        )
        if not found:
            there = ", ".join(sorted(set(self.files) - {DECLARATION})) or "nothing else"
            raise StepError(
                f"{self.where} holds no {'file like ' if many else ''}{' or '.join(wanted)}, which [{name}] in "
                f"{DECLARATION} speaks of; it holds {there}."
            )
        if len(found) > 1 and not many:
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
        for column in (each for each in ("userid", "itemid") if each in columns):
            table.expect(f"{column} IS NOT NULL", column, "an id")
            table.expect(
                f"strlen({column}) <= {MAX_BYTES}",
                column,
                f"an id of at most {MAX_BYTES} bytes",
            )
        return table


# ------------------------------------------------------------------------------------------------------ users and items


def _users(
    source: _Source, declared: UsersTable | None
) -> tuple[Table | None, dict[str, pd.Series], tuple[str, ...]]:
    """The table of users; its attributes as columns of categories, in the table's order; those that are crossed."""
    if declared is None:
        return None, {}, ()
    table, read = _listed(source, USERS, declared, "userid")
    columns: dict[str, pd.Series] = {}  # by name, before it is a column
    for number, (name, values) in enumerate(read.items()):
        spec = declared.attributes[name]
        if spec.kind == "multi-valued":
            fields = attributes.fields(values, spec.values or attributes.MOST_FIELDS)
            columns |= {f"{name} {value}": column for value, column in fields.items()}
        elif spec.kind == "numeric":
            columns[name] = attributes.intervals(
                values, spec.values or attributes.INTERVALS
            )
        else:
            most = spec.values or attributes.MOST_CATEGORIES
            columns[name] = attributes.categories(
                values, most, numbers=f"a{number}" not in table.texts
            )
    named = dict(zip(columns, slugs(list(columns), Columns.TAKEN), strict=True))
    plain = [name for name in read if declared.attributes[name].kind != "multi-valued"]
    crossed = plain[:2] if declared.crossed is None else declared.crossed
    return (
        table,
        {named[name]: column for name, column in columns.items()},
        tuple(named[name] for name in crossed),
    )


def _items(
    source: _Source, declared: ItemsTable | None
) -> tuple[Table | None, dict[str, Any], tuple[str, ...], tuple[ItemNumber, ...]]:
    """The table of items; title, terms and numbers as columns; the attributes that the terms are of; the numbers."""
    if declared is None:
        return None, {}, (), ()
    titles: Collection[str] = (
        (declared.title,)
        if isinstance(declared.title, str)
        else dict.fromkeys(declared.title or ())
    )
    table, read = _listed(source, ITEMS, declared, "itemid", titles)
    catalogue: dict[str, Any] = {}
    if titles:
        parts = zip(
            *(read.pop(f"{Columns.TITLE}{SEPARATOR}{each}") for each in titles),
            strict=True,
        )
        catalogue[Columns.TITLE] = [" ".join(filter(None, each)) for each in parts]
    specs = {name: declared.attributes[name] for name in read}
    of_terms = [name for name, spec in specs.items() if spec.kind != "numeric"]
    terms: list[list[str]] = [[] for _ in range(len(table))]
    for name in of_terms:
        lists = read[name]
        if specs[name].kind == "categorical":
            lists = [[value] if value else [] for value in lists]
        values = (value for values in lists for value in values)
        kept = set(
            attributes.frequent(values, specs[name].values or attributes.MOST_TERMS)
        )
        before = "" if len(of_terms) == 1 else f"{name}{SEPARATOR}"  # as `Dataset.term`
        for own, values_of_one in zip(terms, lists, strict=True):
            own += [before + value for value in values_of_one if value in kept]
    catalogue[Columns.GENRES] = terms
    numeric = [name for name, spec in specs.items() if spec.kind == "numeric"]
    columns = dict(zip(numeric, slugs(numeric, Columns.TAKEN), strict=True))
    numbers = [
        attributes.item_number(name, columns[name], specs[name], read[name])
        for name in numeric
    ]
    catalogue |= {columns[name]: read[name] for name in numeric}
    return table, catalogue, tuple(of_terms), tuple(numbers)


def _listed(
    source: _Source,
    name: str,
    declared: UsersTable | ItemsTable,
    key: str,
    titles: Collection[str] = (),
) -> tuple[Table, dict[str, Any]]:
    """A table that lists ids, and attribute -> values: texts, lists of texts, or an array of numbers.

    ``titles``: columns of texts, which are among them as ``title: <column>``. Raises StepError for a cell that is not
    as declared.
    """
    more = {
        f"{Columns.TITLE}{SEPARATOR}{each}": AttributeSpec(
            kind="categorical", column=each
        )
        for each in titles
    }
    specs = declared.attributes | more
    columns = {
        f"a{number}": spec.column or each
        for number, (each, spec) in enumerate(specs.items())
    }
    kinds = {
        column: spec.kind for column, spec in zip(columns, specs.values(), strict=True)
    }
    lists = [column for column, kind in kinds.items() if kind == "multi-valued"]
    table = source.table(name, declared, {key: declared.id, **columns}, lists)

    # every id once: the last row of each, or an error
    if declared.keep is not None:
        table.connection.execute(
            f"DELETE FROM {name} USING (SELECT {key} AS id, max((file, row)) AS place FROM {name} GROUP BY {key}) last "
            f"WHERE {key} = last.id AND (file, row) <> last.place"
        )
    second = f"SELECT (file, row) FROM {name} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY file, row) = 2"
    if (place := table.first(f"(file, row) IN ({second})")) is not None:
        own_id = table.cell(place, key)
        file, row = table.first(f"{key} = {quoted(own_id)}") or place
        before = table.files[file].where(row)
        raise StepError(
            f"{table.at(place, key)}: {own_id!r} is there already, in {before}; list every id once."
        )

    expressions = []
    for column, kind in kinds.items():
        number, largest = f"TRY_CAST({column} AS DOUBLE)", attributes.LARGEST_STORED
        if kind == "numeric":
            table.expect(f"{column} IS NULL OR isfinite({number})", column, "a number")
            bounded = f"{column} IS NULL OR abs({number}) <= {largest}"
            table.expect(
                bounded, column, f"a number of at most {largest:.0e} either way"
            )
        expressions.append(number if kind == "numeric" else column)
    rows = table.connection.execute(
        f"SELECT {', '.join([key, *expressions])} FROM {name} ORDER BY file, row"
    ).fetchall()
    _, *found = zip(*rows, strict=True)
    read: dict[str, Any] = {}
    for (each, spec), values in zip(specs.items(), found, strict=True):
        match spec.kind:
            case "numeric":
                read[each] = np.array(values, np.float64)  # None: NaN
            case "multi-valued":
                read[each] = [_values(cell, declared.separator) for cell in values]
            case "categorical":
                read[each] = list(values)
    return table, read


def _values(cell: Any, separator: str) -> list[str]:
    """The values in a cell: a list, or a text with separators in it."""
    several = (
        (cell or "").split(separator) if cell is None or isinstance(cell, str) else cell
    )
    return [value.strip() for value in several if value and value.strip()]


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
    for column, listed in (("userid", users), ("itemid", items)):
        if listed is None:
            continue
        place = events.first(f"{column} NOT IN (SELECT {column} FROM {listed.name})")
        if place is not None:
            alike = f"WHERE trim({column}) = trim(?) ORDER BY file, row LIMIT 1"
            blank = events.one(
                f"SELECT {column} FROM {listed.name} {alike}",
                events.cell(place, column),
            )
            hint = "" if blank is None else f"; {blank!r} is listed, and blanks count"
            events.refuse(
                place, column, f"an id that is listed in {listed.label}", hint
            )
    micros, number = times.microseconds(events, declared), "0.0"
    if declared.value is not None:
        number = "TRY_CAST(value AS DOUBLE)"
        events.expect(f"isfinite({number})", "value", "a number")
        if declared.levels is not None:
            levels = ", ".join(f"{level:g}" for level in declared.levels)
            exact = ", ".join(map(repr, declared.levels))
            events.expect(f"{number} IN ({exact})", "value", f"one of {levels}")
    busy = (
        f"GROUP BY userid HAVING count(*) > {MOST_OF_ONE_USER} ORDER BY userid LIMIT 1"
    )
    user = events.one(f"SELECT userid FROM {INTERACTIONS} {busy}")
    if user is not None:
        raise StepError(
            f"{events.label}: {declared.user} {user!r} has more than {MOST_OF_ONE_USER:,} events, which are no "
            "person's; leave this user out."
        )
    for what, met, file in (  # a user who is listed may have no event
        (
            "user",
            events.one(f"SELECT count(DISTINCT userid) FROM {INTERACTIONS}"),
            events.label,
        ),
        (
            "item",
            events.one(f"SELECT count(DISTINCT itemid) FROM {(items or events).name}"),
            (items or events).label,
        ),
    ):
        if met < FEWEST:
            raise StepError(
                f"{file} holds {met} {what}; at least {FEWEST} are needed: there is nothing to recommend otherwise."
            )
    source.connection.execute(
        f"CREATE TABLE timed AS SELECT file, row, userid, itemid, {micros} AS micros, {number} AS number "
        f"FROM {INTERACTIONS}"
    )
    times.expect_recent(
        events, events.one("SELECT max(micros) // 1000000 FROM timed"), declared
    )
    return events


# ------------------------------------------------------------------------------------------------------------------ ids


def _numbered(
    events: Table, listed: Table | None, key: str, column: str
) -> tuple[IdKind, pd.DataFrame]:
    """Give every own id a number, in a table ``<key>_numbers``. Returns the kind, and numbers and ids as a frame.

    "integer" if every own id is a whole number from 1 to `MAX_INTEGER`, which is its number; else "string", and ids are
    numbered from 1 in order: as numbers if all are whole, else as text. The frame is in the order of the table that
    lists the ids, else by number.
    """
    connection, source = events.connection, (listed or events).name
    ids = f"(SELECT DISTINCT {key} AS id FROM {source})"
    whole, small = connection.execute(
        f"SELECT bool_and(regexp_full_match(id, '-?(0|[1-9][0-9]*)')), "
        f"coalesce(bool_and(TRY_CAST(id AS BIGINT) BETWEEN 1 AND {MAX_INTEGER}), false) AND "
        f"bool_and(TRY_CAST(id AS BIGINT) IS NOT NULL) FROM {ids}"
    ).fetchone() or (False, False)
    kind: IdKind = "integer" if whole and small else "string"
    digits = "CASE WHEN id LIKE '-%' THEN -length(id) ELSE length(id) END, CASE WHEN id LIKE '-%' THEN '' ELSE id END"
    order = f"{digits}, id DESC" if whole else "id"
    number = (
        "CAST(id AS INTEGER)"
        if kind == "integer"
        else f"CAST(row_number() OVER (ORDER BY {order}) AS INTEGER)"
    )
    connection.execute(
        f"CREATE TABLE {key}_numbers AS SELECT id, {number} AS number FROM {ids}"
    )
    query = f"SELECT number, id FROM {key}_numbers ORDER BY number"
    if listed is not None:
        query = f"SELECT number, id FROM {source} JOIN {key}_numbers ON {key} = id ORDER BY file, row"
    found = connection.execute(query).fetchnumpy()
    return kind, pd.DataFrame(
        {column: np.asarray(found["number"], np.int32), Columns.OWN_ID: found["id"]}
    )
