"""Files of a declared data set, loaded into DuckDB as text, and refusals that name file, line and column.

DuckDB reads CSV (dialect sniffed, gzipped or not) and Parquet into a database in a temporary folder:
so a table may be larger than memory. Every cell becomes text as people write it (``7``, not ``7.0``); numbers and times
are parsed from that text in one place. Each row keeps its position, from which a message finds the line.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb

from data_exchange_center.steps import StepError

ENDINGS: Final = (".csv", ".csv.gz", ".parquet")
DELIMITERS: Final = (",", "\t", ";", "|")
LINE: Final = 1 << 24  # bytes of a record of a CSV at most
NOT_UTF8: Final = " is not UTF-8: save the file as UTF-8."


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


@dataclass(frozen=True)
class File:
    """A CSV or Parquet file.

    Attributes:
        name: as messages call it.
        columns: names in the order of the file.
        types: the columns' types in Parquet; empty for a CSV.
        delimiter, quote: of a CSV.
    """

    name: str
    path: Path
    columns: Sequence[str]
    types: Sequence[str] = ()
    delimiter: str = ","
    quote: str = '"'

    def index(self, column: str) -> int:
        """The place of a column. Raises StepError where the file has none, or several, of that name."""
        times = self.columns.count(column)
        if times != 1:
            raise StepError(
                f"{self.name} has {times or 'no'} columns {column!r}, where one is expected; "
                f"it has {', '.join(map(repr, self.columns))}."
            )
        return self.columns.index(column)

    def type(self, column: str) -> str:
        """The type of a column in Parquet; empty for a CSV."""
        index = self.index(column)
        return self.types[index] if self.types else ""

    def where(self, row: int) -> str:
        """Location of a row (from 0) for messages: ``interactions.csv, line 7``."""
        if self.types:
            return f"{self.name}, row {row + 1}"
        line, _ = self.record(row)
        return f"{self.name}, line {line}"

    def record(self, row: int) -> tuple[int, list[str]]:
        """The line that a row (from 0) of a CSV begins at, and its values, which may run over several lines."""
        with _text(self.path) as lines:
            records = csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote)
            next(records)
            begin = records.line_num + 1
            for record in records:
                if record and not row:
                    return begin, record
                row -= bool(record)
                begin = records.line_num + 1
        return begin, []

    def scan(self, strict: bool = True) -> str:
        """The SQL that reads the file, with the path as its parameter. Columns of a CSV are named by position.

        ``strict``: refuse malformed CSV, such as mixed line endings.
        """
        if self.types:
            return "read_parquet(?)"
        columns = ", ".join(f"c{n}: 'VARCHAR'" for n in range(len(self.columns)))
        quote = quoted(self.quote)
        return (
            f"read_csv(?, columns = {{{columns}}}, auto_detect = false, header = true, delim = {quoted(self.delimiter)}"
            f", quote = {quote}, escape = {quote}, nullstr = '', max_line_size = {LINE}, "
            f"strict_mode = {strict}, store_rejects = true, rejects_limit = 1000)"
        )

    def text(self, column: str, separator: str | None = None) -> str:
        """The SQL that converts a column to text, NULL where it is empty.

        ``separator``: of a column with several values in a cell, which is converted to a list of texts.
        """
        kind = self.type(column)
        cell = f"c{self.index(column)}"
        if kind:
            cell = '"' + column.replace('"', '""') + '"'
        text = f"CAST({cell} AS VARCHAR)"
        # whole numbers are floats where a cell is empty
        if kind in ("FLOAT", "DOUBLE"):
            text = f"CASE WHEN NOT isnan({cell}) THEN regexp_replace({text}, '\\.0$', '') END"
        if separator is not None:
            values = f"CAST({cell} AS VARCHAR[])"
            if not kind.endswith("[]"):
                values = f"string_split({text}, {quoted(separator)})"
            trimmed = (
                f"list_transform({values}, lambda each: trim(each, E' \\t\\r\\n'))"
            )
            return f"coalesce(list_filter({trimmed}, lambda each: each <> ''), [])"
        if kind.endswith("[]") or kind.startswith(("STRUCT", "MAP", "UNION")):
            raise StepError(
                f"{self.name}, column {column!r}: {kind} cannot be read as text."
            )
        return f"nullif({text}, '')"


def _text(path: Path) -> TextIOWrapper:
    """Open a CSV, decompressed; U+FFFD stands for bytes that are not UTF-8."""
    csv.field_size_limit(LINE)
    file = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    return TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")


def opened(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    path: Path,
    delimiter: str | None = None,
) -> File:
    """Find out a file's dialect and columns. ``delimiter``: as declared; None: sniffed.

    Raises StepError where the file is empty or cannot be read.
    """
    with _unreadable(name):
        if name.endswith(".parquet"):
            described = connection.execute(
                "SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(?))",
                [str(path)],
            ).fetchall()
            names, types = zip(*described, strict=True)
            return File(name, path, names, types)
        with _text(path) as lines:
            header = lines.readline(LINE)
            if "\ufffd" in header:
                raise StepError(f"{name}, line 1{NOT_UTF8}")
            if not header.strip():
                raise StepError(
                    f"{name} is empty: a header with the names of the columns is expected."
                )
            lines.seek(0)
            delimiter, quote = _dialect(connection, path, header, delimiter)
            columns = next(csv.reader(lines, delimiter=delimiter, quotechar=quote))
    return File(name, path, columns, (), delimiter, quote)


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
        found, quote = connection.execute(query, [str(path)]).fetchall()[0]
    except duckdb.Error:
        found, quote = "", ""
    if not found or found not in header:  # the sniffer found no dialect
        found = max(DELIMITERS, key=header.count)
    return delimiter or found, quote if len(quote) == 1 else '"'


@contextmanager
def _unreadable(name: str) -> Iterator[None]:
    """Turn the errors of DuckDB and gzip about damaged files into one sentence."""
    try:
        yield
    except (duckdb.Error, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        expected = "a Parquet file" if name.endswith(".parquet") else "a CSV in UTF-8"
        raise StepError(
            f"{name} cannot be read ({reason}): {expected} is expected."
        ) from error


@dataclass(frozen=True)
class Table:
    """A table of the data set in DuckDB: ``row`` (from 0) and the wanted columns as text or lists of text.

    Attributes:
        name: in DuckDB, and in the declaration.
        columns: names in DuckDB -> names in the file.
    """

    connection: duckdb.DuckDBPyConnection
    name: str
    file: File
    columns: Mapping[str, str]

    def load(self, separators: Mapping[str, str]) -> None:
        """Fill the table from its file.

        ``separators``: columns of lists -> what is between the values where a cell is text.

        Raises StepError for a column that is absent and for a malformed line.
        """
        texts = ", ".join(
            f"{self.file.text(column, separators.get(name))} AS {name}"
            for name, column in self.columns.items()
        )
        create = f"CREATE TABLE {self.name} AS SELECT row_number() OVER () - 1 AS row, {texts} FROM"
        path = [str(self.file.path)]
        with _unreadable(self.file.name):
            self.connection.execute("DROP TABLE IF EXISTS reject_errors")
            self.connection.execute("DROP TABLE IF EXISTS reject_scans")
            try:
                self.connection.execute(f"{create} {self.file.scan()}", path)
            except duckdb.InvalidInputException as error:  # mixed line endings
                if "invalid state" not in str(error):
                    raise
                scan = self.file.scan(strict=False)
                self.connection.execute(f"{create} {scan}", path)
        if not self.file.types:
            self._expect_records()

    def _expect_records(self) -> None:
        """Raise StepError for the first malformed record of the CSV that was just read, if there is one."""
        rejected = self.connection.execute(
            "SELECT line, error_type, error_message FROM reject_errors ORDER BY line, column_idx LIMIT 1"
        ).fetchone()
        if rejected is None:
            return
        # records are counted from 1, the header among them
        record, kind, message = rejected
        line, values = self.file.record(record - 2)
        problem = f" cannot be read: {message}"
        if kind in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
            problem = f": {len(self.file.columns)} columns expected, as in the header, {len(values)} found."
        elif kind == "UNQUOTED VALUE":
            problem = ": a quote is not closed, or one within a value is not doubled."
        elif kind == "INVALID ENCODING":
            problem = NOT_UTF8
        raise StepError(f"{self.file.name}, line {line}{problem}")

    def first_without(self, condition: str) -> int | None:
        """The first row for which ``condition`` does not hold, or is NULL."""
        row: int | None = self.one(
            f"SELECT min(row) FROM {self.name} WHERE ({condition}) IS NOT TRUE"
        )
        return row

    def expect(self, condition: str, column: str, expected: str) -> None:
        """Raise StepError for the first row for which ``condition`` does not hold, or is NULL."""
        row = self.first_without(condition)
        if row is None:
            return
        cell = self.one(
            f"SELECT CAST({column} AS VARCHAR) FROM {self.name} WHERE row = {row}"
        )
        found = repr(cell[:60]) if cell else "nothing"
        raise StepError(
            f"{self.file.where(row)}, column {self.columns[column]!r}: {expected} expected, found {found}."
        )

    def read(self, expression: str) -> list[Any]:
        """The values of an expression in the order of the rows."""
        rows = self.connection.execute(
            f"SELECT {expression} FROM {self.name} ORDER BY row"
        ).fetchall()
        return [value for (value,) in rows]

    def one(self, query: str) -> Any:
        """The first value of a query's first row; None where there is no row."""
        found = self.connection.execute(query).fetchone()
        return found[0] if found else None


def quoted(text: str) -> str:
    """Quote a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
