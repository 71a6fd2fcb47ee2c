"""The kinds of files that cross a step: tables, documents, and bytes of a format of their own.

``write`` checks and renames into place, so a file is either whole or absent; ``read`` checks again, and a missing
file says which step to run. Tables are parquet, facts are JSON; the same input gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_exchange_center.errors import RecsysError
from data_exchange_center.files import folder_written_in_place, parts_of, write_json, written_in_place

Content = TypeVar("Content")
Condition = tuple[str, str, Any]  # column, comparison, value: ("userid", ">=", 7)


class ArtifactError(RecsysError):
    """A file between two steps is missing or is not what it should be. The message says what to do."""


@dataclass(frozen=True)
class _File:
    path: str  # below the exchange folder
    made_by: str  # path of the step
    about: str
    examples: str | None = field(default=None, kw_only=True)  # only for rankers that are trained on these

    def at(self, exchange_dir: Path) -> Path:
        return exchange_dir / self.path

    def require(self, exchange_dir: Path) -> Path:
        """The file's path. Raises ArtifactError, naming the step that makes it, when it is not there."""
        path = self.at(exchange_dir)
        if not path.exists():
            raise ArtifactError(f"{path} is missing. It is made by {self.made_by}: run that step first.")
        return path

    def wrong(self, path: Path, what: str) -> ArtifactError:
        """The error for a file that is there and not as it should be; ``what``: the middle of the sentence."""
        return ArtifactError(f"{path}: {what}. It is made by {self.made_by}: run that step again.")


@dataclass(frozen=True)
class Table(_File):
    """A parquet file with fixed columns, or a folder of such parts, which an engine for larger data writes.

    ``columns`` maps a name to its Arrow type; more columns are allowed only where ``open_ended`` gives their types.
    ``rows_together``: how many rows a reader of some of them must read at once.
    """

    columns: Mapping[str, pa.DataType] = field(default_factory=dict)
    open_ended: tuple[pa.DataType, ...] = ()
    rows_together: int = 1 << 20

    def write(self, exchange_dir: Path, frame: pd.DataFrame | pa.Table | pa.RecordBatchReader) -> Path:
        """Write ``frame`` and return the path. Raises ArtifactError when the columns are not those declared.

        A reader may bring more rows than memory holds.
        """
        path = self.at(exchange_dir)
        if not isinstance(frame, pd.DataFrame):
            names = frame.schema.names
            schema = self._schema(names, dict(zip(names, frame.schema.types, strict=True)), path)
            if isinstance(frame, pa.RecordBatchReader):
                with (
                    written_in_place(path) as temporary,
                    pq.ParquetWriter(temporary, schema, compression="zstd") as file,
                ):
                    for group in _groups(frame, self.rows_together):
                        file.write_table(group.cast(schema), row_group_size=self.rows_together)
                return path
            table = frame.cast(schema)
        else:
            found = {str(name): self._type(column) for name, column in frame.items() if name not in self.columns}
            schema = self._schema(list(frame.columns), found, path)
            table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        table = table.replace_schema_metadata(None)
        with written_in_place(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", row_group_size=self.rows_together)
        return path

    def read(
        self, exchange_dir: Path, columns: list[str] | None = None, only: Sequence[Condition] | None = None
    ) -> pd.DataFrame:
        """The table, or some of its columns and rows, as `read_arrow` reads them."""
        frame: pd.DataFrame = self.read_arrow(exchange_dir, columns, only).to_pandas()
        return frame

    def read_arrow(
        self,
        exchange_dir: Path,
        columns: list[str] | None = None,
        only: Sequence[Condition] | None = None,
        share: Callable[[int], slice] | None = None,
    ) -> pa.Table:
        """The table, or some of its columns and rows. Raises ArtifactError when it is missing or not as declared.

        Pandas would make an object of each row of lists; Arrow has them in few pieces.

        Args:
            only: what holds of every row that is read; where statistics say that none is like that, nothing is read.
            share: given how many rows there are, which of them are read, instead of ``only``.
        """
        path = self.require(exchange_dir)
        try:
            parts = parts_of(path)
            self._expect_columns(parts, path)
            tables = (
                (pq.read_table(part, columns=columns, filters=only) for part in parts)
                if share is None
                else _rows(parts, columns, share)
            )
            return pa.concat_tables(tables)
        except (pa.ArrowException, OSError) as error:
            raise self.wrong(path, f"cannot be read ({error})") from error

    def types(self, exchange_dir: Path) -> Mapping[str, pa.DataType]:
        """Of all its columns, those that are not declared by name too. Raises ArtifactError as `read` does."""
        path = self.require(exchange_dir)
        try:
            parts = parts_of(path)
            self._expect_columns(parts, path)
            return {field.name: field.type for field in pq.read_schema(parts[0])}
        except (pa.ArrowException, OSError) as error:
            raise self.wrong(path, f"cannot be read ({error})") from error

    @contextmanager
    def in_parts(self, exchange_dir: Path) -> Iterator[Path]:
        """A folder that an engine writes parts into, in the order of their names.

        It takes the table's place when the block ends well. Raises ArtifactError when the columns are not those
        declared.
        """
        path = self.at(exchange_dir)
        with folder_written_in_place(path) as temporary:
            yield temporary
            parts = parts_of(temporary)
            self._expect_columns(parts, path)
            for other in set(temporary.iterdir()) - set(parts):
                other.unlink()  # marks and checksums of the engine

    def _expect_columns(self, parts: Sequence[Path], path: Path) -> None:
        for part in parts:
            fields = [(field.name, field.type) for field in pq.read_schema(part)]
            schema, found = pa.schema(fields), dict(fields)  # an engine may say more: that there is no null
            if schema != self._schema(schema.names, found, path):
                raise self.wrong(
                    path, f"its columns are not as expected: {schema.to_string(show_field_metadata=False)}"
                )
        if not parts:
            raise self.wrong(path, "holds no part")

    def _type(self, column: pd.Series) -> pa.DataType | None:
        """The type of a column that is not declared by name: strings where the table may hold some."""
        strings = pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)
        if strings and pa.string() in self.open_ended:
            return pa.string()
        return next((each for each in self.open_ended if each != pa.string()), None)

    def _schema(self, names: list[str], found: Mapping[str, pa.DataType | None], path: Path) -> pa.Schema:
        """``found``: the types of columns that are not declared by name."""
        absent = [name for name in self.columns if name not in names]
        surplus = [name for name in names if name not in self.columns and found[name] not in self.open_ended]
        if absent or surplus:
            raise self.wrong(path, f"columns {absent} are absent and {surplus} unexpected")
        return pa.schema([(name, self.columns.get(name, found.get(name))) for name in names])


def _groups(reader: pa.RecordBatchReader, rows: int) -> Iterator[pa.Table]:
    """Tables of so many rows each, the last of what is left."""
    waiting = reader.schema.empty_table()
    for batch in reader:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
        while len(waiting) >= rows:
            yield waiting.slice(0, rows).combine_chunks()
            waiting = waiting.slice(rows)
    yield waiting.combine_chunks()


def _rows(parts: Sequence[Path], columns: list[str] | None, share: Callable[[int], slice]) -> Iterator[pa.Table]:
    """Some of the rows of all parts; a group of rows that has none of them is not read."""
    files = [pq.ParquetFile(part) for part in parts]
    yield files[0].schema_arrow.empty_table().select(columns or files[0].schema_arrow.names)
    total = sum(file.metadata.num_rows for file in files)
    begin, end, _ = share(total).indices(total)  # counted from the first row of each group in turn
    for file in files:
        for number in range(file.num_row_groups):
            size = file.metadata.row_group(number).num_rows
            first, last = max(begin, 0), min(end, size)
            if first < last:
                yield file.read_row_group(number, columns).slice(first, last - first)
            begin, end = begin - size, end - size


@dataclass(frozen=True)
class Document(_File):
    """A JSON file."""

    def write(self, exchange_dir: Path, content: Mapping[str, Any]) -> Path:
        path = self.at(exchange_dir)
        write_json(path, content)
        return path

    def read(self, exchange_dir: Path) -> dict[str, Any]:
        path = self.require(exchange_dir)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise self.wrong(path, f"is not JSON ({error})") from error
        if not isinstance(content, dict):
            raise self.wrong(path, "does not hold a JSON object")
        return content


@dataclass(frozen=True)
class Binary(_File):
    """A file of bytes with a format of its own: weights, ONNX."""

    def write(self, exchange_dir: Path, content: bytes) -> Path:
        path = self.at(exchange_dir)
        with written_in_place(path) as temporary:
            temporary.write_bytes(content)
        return path

    def read(self, exchange_dir: Path) -> bytes:
        return self.require(exchange_dir).read_bytes()

    def read_as(self, exchange_dir: Path, unpack: Callable[[bytes], Content]) -> Content:
        """What ``unpack`` makes of the bytes. Raises ArtifactError where it raises ValueError."""
        try:
            return unpack(self.read(exchange_dir))
        except ValueError as error:
            raise self.wrong(self.at(exchange_dir), f"cannot be read ({error})") from error


Artifact: TypeAlias = Table | Document | Binary
