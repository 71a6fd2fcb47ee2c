"""Files of a declared data set, loaded into DuckDB as text, and refusals that name file, line and column.

DuckDB reads CSV (dialect sniffed, gzipped or not) and Parquet, a file at a time, into a database in a temporary folder:
so a table may be larger than memory. Every cell becomes text as people write it (``7``, not ``7.0``); numbers and times
are parsed from that text in one place. Each row keeps its file and position, from which a message finds the line.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final, NoReturn

import duckdb

from data_exchange_center.steps import StepError

ENDINGS: Final = (".csv", ".csv.gz", ".parquet")
DELIMITERS: Final = (",", "\t", ";", "|")
LINE: Final = 1 << 24  # bytes of a record of a CSV at most
_REJECTS: Final = 1000  # malformed records of a file that are looked at


@contextmanager
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database on disk (TMPDIR says where) that spills what memory does not hold."""
    with (
        TemporaryDirectory(prefix="recsys-duckdb-") as folder,
        duckdb.connect(f"{folder}/data.db") as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        yield connection


@dataclass
class File:
    """A CSV or Parquet file.

    Attributes:
        name: as messages call it.
        columns: names in the order of the file; ``types``: of DuckDB, VARCHAR in a CSV.
        delimiter, quote: of a CSV.
    """

    name: str
    path: Path
    columns: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    delimiter: str = ","
    quote: str = '"'

    @property
    def is_csv(self) -> bool:
        return not self.name.endswith(".parquet")

    def type(self, column: str) -> str:
        """The type of a column. Raises StepError where the file has none, or several, of that name."""
        times = self.columns.count(column)
        if times == 1:
            return self.types[self.columns.index(column)]
        if times:
            raise StepError(
                f"{self.name} has {times} columns {column!r}: give each a name of its own."
            )
        close = difflib.get_close_matches(column, self.columns, n=1)
        hint = f"; is {close[0]!r} meant?" if close else "."
        raise StepError(
            f"{self.name} has no column {column!r}; it has {', '.join(map(repr, self.columns))}{hint}"
        )

    def where(self, row: int) -> str:
        """Location of a row (from 0) for messages: ``interactions.csv, line 7``."""
        if not self.is_csv:
            return f"{self.name}, row {row + 1}"
        line, _ = self.record(row)
        return f"{self.name}, line {line}"

    def record(self, row: int) -> tuple[int, list[str]]:
        """The line that a row (from 0) of a CSV begins at, and its values."""
        return next(islice(self.records(), row + 1, None), (row + 2, []))

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """The line that each record of a CSV begins at, and its values, which may run over several lines."""
        csv.field_size_limit(LINE)
        with self.bytes() as file:
            lines = io.TextIOWrapper(
                file, encoding="utf-8-sig", errors="replace", newline=""
            )
            reader = csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote)
            begin = 1
            for record in reader:
                if record:
                    yield begin, record
                begin = reader.line_num + 1

    def bytes(self) -> BinaryIO:
        """Open a CSV, decompressed."""
        return (
            gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb")  # type: ignore[return-value]
        )

    def scan(self, strict: bool = True) -> str:
        """The SQL that reads the file, with the path as its parameter. Columns of a CSV are named by position.

        ``strict``: refuse malformed CSV, such as mixed line endings.
        """
        if not self.is_csv:
            return "read_parquet(?)"
        columns = ", ".join(
            f"c{number}: 'VARCHAR'" for number in range(len(self.columns))
        )
        quote = quoted(self.quote)
        return (
            f"read_csv(?, columns = {{{columns}}}, auto_detect = false, header = true, delim = {quoted(self.delimiter)}"
            f", quote = {quote}, escape = {quote}, nullstr = '', max_line_size = {LINE}, "
            f"strict_mode = {strict}, store_rejects = true, rejects_limit = {_REJECTS})"
        )


def opened(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    path: Path,
    delimiter: str | None = None,
) -> File:
    """Find out a file's dialect and columns.

    Args:
        delimiter: as declared; None: sniffed.

    Raises StepError where the file is empty or cannot be read.
    """
    file = File(name, path)
    with _unreadable(file):
        if not file.is_csv:
            described = connection.execute(
                "DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]
            ).fetchall()
            file.columns = [row[0] for row in described]
            file.types = [row[1] for row in described]
            return file
        with file.bytes() as content:
            line = content.readline(LINE)
        try:
            header = line.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise StepError(
                f"{name}, line 1 is not UTF-8: save the file as UTF-8."
            ) from None
        if not header.strip():
            raise StepError(
                f"{name} is empty: a header with the names of the columns is expected."
            )
        file.delimiter, file.quote = _dialect(connection, path, header, delimiter)
        _, file.columns = next(file.records())
        file.types = ["VARCHAR"] * len(file.columns)
    return file


def _dialect(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    header: str,
    delimiter: str | None,
) -> tuple[str, str]:
    """Delimiter and quote of a CSV, sniffed unless declared."""
    given = f", delim = {quoted(delimiter)}" if delimiter else ""
    query = f"SELECT Delimiter, Quote FROM sniff_csv(?, all_varchar = true, header = true{given})"
    try:
        found, quote = connection.execute(query, [str(path)]).fetchone() or (",", '"')
    except duckdb.Error:
        found, quote = ",", '"'
    if found not in header:  # the sniffer found no dialect
        found = max(DELIMITERS, key=header.count)
    return delimiter or found, quote if len(quote) == 1 else '"'


@contextmanager
def _unreadable(file: File) -> Iterator[None]:
    """Turn the errors of DuckDB and gzip about damaged files into one sentence."""
    try:
        yield
    except (duckdb.Error, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        expected = "a CSV in UTF-8" if file.is_csv else "a Parquet file"
        raise StepError(
            f"{file.name} cannot be read ({reason}): {expected} is expected."
        ) from error


@dataclass
class Table:
    """A table of the data set in DuckDB: ``file``, ``row`` (from 0) and the wanted columns as text or lists of text.

    Attributes:
        name: in DuckDB, and in the declaration.
        columns: names in DuckDB -> names in the files.
        texts: those whose Parquet type is text, so that digits in them are no numbers.
        times: those whose Parquet type is a time.
    """

    connection: duckdb.DuckDBPyConnection
    name: str
    files: Sequence[File]
    columns: Mapping[str, str]
    texts: set[str] = field(default_factory=set)
    times: set[str] = field(default_factory=set)

    @property
    def label(self) -> str:
        """The table's file in messages, or the first of them and how many there are."""
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0].name}{more}"

    def load(self, lists: Sequence[str] = ()) -> None:
        """Fill the table from its files, one after the other.

        Args:
            lists: columns that may hold lists.

        Raises StepError for a column that is absent and for a malformed line.
        """
        shape = ["file INTEGER", "row BIGINT"]
        held = []
        for name, column in self.columns.items():
            types = [file.type(column) for file in self.files]
            if name in lists and any(kind.endswith("[]") for kind in types):
                held.append(name)
            shape.append(f"{name} {'VARCHAR[]' if name in held else 'VARCHAR'}")
        self.connection.execute(f"CREATE TABLE {self.name} ({', '.join(shape)})")
        for number, file in enumerate(self.files):
            texts = ", ".join(
                self._text(file, name, name in held) for name in self.columns
            )
            insert = f"INSERT INTO {self.name} SELECT {number}, row_number() OVER () - 1, {texts} FROM"
            with _unreadable(file):
                self.connection.execute(
                    "DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans"
                )
                try:
                    self.connection.execute(f"{insert} {file.scan()}", [str(file.path)])
                except duckdb.InvalidInputException as error:  # mixed line endings
                    if "invalid state" not in str(error):
                        raise
                    self.connection.execute(
                        f"{insert} {file.scan(strict=False)}", [str(file.path)]
                    )
            if file.is_csv:
                self._expect_records(file)

    def _text(self, file: File, name: str, as_list: bool) -> str:
        """The SQL expression that casts a column to text."""
        kind = file.type(self.columns[name])
        column = identifier(self.columns[name])
        if file.is_csv:
            column = f"c{file.columns.index(self.columns[name])}"
        if kind.endswith("[]") and as_list:
            return f"list_transform({column}, lambda each: CAST(each AS VARCHAR))"
        if kind.endswith("[]") or kind.startswith(("STRUCT", "MAP", "UNION")):
            raise StepError(
                f"{file.name}, column {self.columns[name]!r}: {kind} cannot be read as text."
            )
        if as_list:
            raise StepError(
                f"{file.name}, column {self.columns[name]!r}: other files of the table hold lists."
            )
        if not file.is_csv and kind.startswith(("VARCHAR", "ENUM")):
            self.texts.add(name)
        if kind.startswith(("TIMESTAMP", "DATE")):
            self.times.add(name)
        text = f"CAST({column} AS VARCHAR)"
        if kind in (
            "FLOAT",
            "DOUBLE",
        ):  # a column of whole numbers is one of floats where a cell is empty
            text = f"CASE WHEN NOT isnan({column}) THEN regexp_replace({text}, '\\.0$', '') END"
        return f"nullif({text}, '')"

    def _expect_records(self, file: File) -> None:
        """Raise StepError for the first malformed record of a CSV that was just read, if there is one."""
        found = self.connection.execute(
            "SELECT line, error_type, csv_line, error_message FROM reject_errors ORDER BY line, column_idx LIMIT 1"
        ).fetchone()
        if found is None:
            return
        # records are counted from 1, the header among them
        record, kind, text, message = found
        # DuckDB counts no further than the first value that is too many
        line, values = file.record(record - 2)
        if kind in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
            expected = f"{len(file.columns)} columns expected, as in the header"
            problem = f": {expected}, {len(values)} found in {text.strip()[:120]!r}."
        elif kind == "UNQUOTED VALUE":
            problem = ": a quote is not closed, or one within a value is not doubled."
        elif kind == "INVALID ENCODING":
            problem = " is not UTF-8: save the file as UTF-8."
        else:
            problem = f" cannot be read: {message}"
        raise StepError(f"{file.name}, line {line}{problem}")

    def first(self, condition: str) -> tuple[int, int] | None:
        """File and row of the first row for which ``condition`` holds."""
        query = f"SELECT file, row FROM {self.name} WHERE {condition} ORDER BY file, row LIMIT 1"
        found: tuple[int, int] | None = self.connection.execute(query).fetchone()
        return found

    def expect(self, condition: str, column: str, expected: str) -> None:
        """Raise StepError for the first row for which ``condition`` does not hold, or is NULL."""
        place = self.first(f"({condition}) IS NOT TRUE")
        if place is not None:
            self.refuse(place, column, expected)

    def cell(self, place: tuple[int, int], column: str) -> str:
        """The text of a cell, empty where there is nothing."""
        found = self.one(
            f"SELECT CAST({column} AS VARCHAR) FROM {self.name} WHERE file = ? AND row = ?",
            *place,
        )
        return found or ""

    def refuse(
        self, place: tuple[int, int], column: str, expected: str, hint: str = ""
    ) -> NoReturn:
        """Raise StepError for a cell. ``hint``: follows its text in the message."""
        found = self.cell(place, column)
        shown = repr(found[:60]) if found else "nothing"
        raise StepError(
            f"{self.at(place, column)}: {expected} expected, found {shown}{hint}."
        )

    def at(self, place: tuple[int, int], column: str) -> str:
        """``interactions.csv, line 7, column 'at'``."""
        file, row = place
        return f"{self.files[file].where(row)}, column {self.columns[column]!r}"

    def read(self, expression: str) -> list[Any]:
        """The values of an expression in the order of the rows."""
        rows = self.connection.execute(
            f"SELECT {expression} FROM {self.name} ORDER BY file, row"
        ).fetchall()
        return [value for (value,) in rows]

    def one(self, query: str, *values: Any) -> Any:
        """The first value of a query's first row."""
        (found,) = self.connection.execute(query, list(values)).fetchone() or (None,)
        return found

    def __len__(self) -> int:
        return int(self.one(f"SELECT count(*) FROM {self.name}"))


def quoted(text: str) -> str:
    """Quote a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Quote a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
