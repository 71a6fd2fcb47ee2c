"""The rows of a CSV or Parquet file, in batches, and where a row stands in its file."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, ClassVar, Final, Protocol

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from data_exchange_center.steps import StepError
from offline.ingestion.folders import length_of

ENDINGS: Final = (".csv", ".csv.gz", ".parquet")
BLOCK: Final = 8 << 20  # bytes of a CSV at once
BATCH: Final = 1 << 17  # rows of a Parquet file at once


class Rows(Protocol):
    """A table that is read batch by batch."""

    @property
    def name(self) -> str:
        """Of the file."""
        ...

    @property
    def typed(self) -> bool:
        """Whether a column of digits may be one of strings: in a CSV everything is written alike."""
        ...

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns. Raises StepError for a column that is not there and for what cannot be read."""
        ...

    def about(self) -> int:
        """How many rows there are, or nearly, without reading them. 0 where that cannot be told."""
        ...

    def where(self, row: int) -> str:
        """How a person finds a row, counted from 0: ``interactions.csv, line 7``."""
        ...


@dataclass(frozen=True)
class MadeRows:
    """A table in memory, out of a parser of its own. ``rows``: what its rows are called."""

    name: str
    table: pa.Table
    rows: str = "entry"
    typed: ClassVar[bool] = True

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self.table.select(list(columns)).to_batches()

    def about(self) -> int:
        return int(self.table.num_rows)

    def where(self, row: int) -> str:
        return f"{self.name}, {self.rows} {row + 1}"


@dataclass(frozen=True)
class CsvRows:
    """A CSV in UTF-8 with a header, as it is or gzipped. All columns are strings."""

    name: str
    open_file: Callable[[], BinaryIO]
    delimiter: str = ","
    typed: ClassVar[bool] = False

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        wrong: list[pacsv.InvalidRow] = []

        def noted(row: pacsv.InvalidRow) -> str:
            wrong.append(row)
            return "error"

        parse = pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=noted)
        convert = pacsv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), include_columns=list(columns))
        try:
            expect_columns(self.name, self.header(), columns)
            with self._text() as file:
                options = pacsv.ReadOptions(use_threads=False, block_size=BLOCK)
                yield from pacsv.open_csv(file, options, parse, convert)
        except (pa.ArrowException, OSError, EOFError) as error:
            self._refuse_bytes()
            self._refuse_quotes()
            if wrong:
                found = wrong[0]
                raise StepError(
                    f"{self.name}, line {found.number}: {found.expected_columns} columns expected, as in the header, "
                    f"{found.actual_columns} found in {found.text[:120]!r}."
                ) from error
            raise StepError(f"{self.name} cannot be read ({error}): a CSV in UTF-8 is expected.") from error

    def header(self) -> list[str]:
        """Names of all columns."""
        try:
            first = next(self._records(), None)
        except (UnicodeDecodeError, OSError, EOFError) as error:
            self._refuse_bytes()
            raise StepError(f"{self.name} cannot be read ({error}): a CSV in UTF-8 is expected.") from error
        if first is None:
            raise StepError(f"{self.name} is empty: a header with the names of the columns is expected.")
        return first[1]

    def about(self) -> int:
        """By the file's length and its first `BLOCK` of text, of which a line is taken for a row."""
        with suppress(OSError, EOFError, zlib.error, StepError), self.open_file() as file:
            text = gzip.open(file) if self._gzipped else file  # noqa: SIM115 (closed with what it reads)
            lines = text.read(BLOCK).count(b"\n")
            whole = length_of(file) / max(file.tell(), 1)
            return max(round(lines * whole) - 1, 0)
        return 0

    def where(self, row: int) -> str:
        """Counted again from the top: a value in quotes may run over several lines.

        Raises StepError where one runs on because its quote is not closed.
        """
        line, _ = next(islice(self._records(errors="replace", strict=True), row + 1, None), (row + 2, []))
        return f"{self.name}, line {line}"

    def _refuse_bytes(self) -> None:
        """Raise StepError for the first line that is not UTF-8, if there is one."""
        with suppress(OSError, EOFError), self._text() as file:  # what is cut short has no such line
            for number, line in enumerate(io.BufferedReader(file), 1):  # type: ignore[type-var]  # a zip's has no buffer
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError:
                    raise StepError(f"{self.name}, line {number} is not UTF-8: save the file as UTF-8.") from None

    def _refuse_quotes(self) -> None:
        """Raise StepError for the first record with a quote that has no end, if there is one."""
        with suppress(OSError, EOFError):
            for _ in self._records(strict=True):
                pass

    def _records(self, errors: str = "strict", strict: bool = False) -> Iterator[tuple[int, list[str]]]:
        """The line that each record begins at, and its values.

        Args:
            errors: what is done with bytes that are not UTF-8, as of `open`.
            strict: whether all quotes must match.

        Raises StepError for a quote that has no end.
        """
        with self._text() as file:
            lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors=errors, newline="")
            reader = csv.reader(lines, delimiter=self.delimiter, strict=strict)
            begin = 1
            try:
                for record in reader:
                    if record:
                        yield begin, record
                    begin = reader.line_num + 1
            except csv.Error as error:
                raise StepError(
                    f"{self.name}, line {begin}: a quote is not closed, or one within a value is not doubled."
                ) from error

    def _text(self) -> BinaryIO:
        file = self.open_file()
        return gzip.open(file) if self._gzipped else file  # type: ignore[return-value]

    @property
    def _gzipped(self) -> bool:
        return self.name.endswith(".gz")


@dataclass(frozen=True)
class PartedRows:
    """A table in several files, which are read one after the other. ``name``: the pattern that their names match."""

    name: str
    parts: Sequence[Rows]
    _read: list[int] = field(default_factory=list, compare=False)  # rows of each part, as far as they have been read

    @property
    def typed(self) -> bool:
        return all(part.typed for part in self.parts)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        self._read.clear()
        for part in self.parts:
            self._read.append(0)
            for batch in part.batches(columns):
                self._read[-1] += batch.num_rows
                yield batch

    def about(self) -> int:
        return sum(part.about() for part in self.parts)

    def where(self, row: int) -> str:
        """Of a row that has been read: ``interactions-00002.parquet, row 7``."""
        for part, rows in zip(self.parts, self._read, strict=False):
            if row < rows:
                return part.where(row)
            row -= rows
        raise IndexError(f"{self.name}: {row + 1} rows more than have been read")


@dataclass(frozen=True)
class ParquetRows:
    """A Parquet file."""

    name: str
    open_file: Callable[[], BinaryIO]
    typed: ClassVar[bool] = True

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        try:
            file = self._file()
            expect_columns(self.name, file.schema_arrow.names, columns)
            yield from file.iter_batches(batch_size=BATCH, columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise StepError(f"{self.name} cannot be read ({error}): a Parquet file is expected.") from error

    def header(self) -> list[str]:
        """Names of all columns."""
        try:
            names: list[str] = self._file().schema_arrow.names
        except (pa.ArrowException, OSError) as error:
            raise StepError(f"{self.name} cannot be read ({error}): a Parquet file is expected.") from error
        return names

    def about(self) -> int:
        """By the file's own count. A zip's file is read for it."""
        with suppress(pa.ArrowException, OSError, StepError):
            return int(self._file().metadata.num_rows)
        return 0

    def where(self, row: int) -> str:
        return f"{self.name}, row {row + 1}"

    def _file(self) -> pq.ParquetFile:
        file = self.open_file()
        return pq.ParquetFile(file if file.seekable() else pa.BufferReader(file.read()))  # a zip's is read whole


def expect_columns(name: str, there: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise StepError for a column that is not there, naming the likeliest, or there more than once."""
    for column in wanted:
        if column not in there:
            close = difflib.get_close_matches(column, there, n=1)
            hint = f"; is {close[0]!r} meant?" if close else "."
            raise StepError(f"{name} has no column {column!r}; it has {', '.join(map(repr, there))}{hint}")
        if there.count(column) > 1:
            raise StepError(f"{name} has {there.count(column)} columns {column!r}: give each a name of its own.")
