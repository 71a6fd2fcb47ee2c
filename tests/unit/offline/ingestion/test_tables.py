"""Rows of files whose bytes are damaged, and how many rows a file is thought to hold."""

from __future__ import annotations

import gzip
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_exchange_center.steps import StepError
from offline.ingestion import tables
from offline.ingestion.folders import files_of
from offline.ingestion.sources import rows_of
from offline.ingestion.tables import CsvRows, MadeRows, ParquetRows, PartedRows, Rows


def test_a_damaged_page_of_a_parquet_file_is_one_sentence() -> None:
    file = BytesIO()
    numbers = pa.table({"at": np.random.default_rng(0).integers(0, 1 << 40, 10_000)})
    pq.write_table(numbers, file, compression="zstd", use_dictionary=False)
    content = bytearray(file.getvalue())
    content[1_000:30_000] = b"?" * 29_000
    rows = ParquetRows("made.parquet", lambda: BytesIO(bytes(content)))
    assert rows.header() == ["at"]
    with pytest.raises(StepError, match=r"made\.parquet cannot be read \(.*a Parquet file is expected"):
        list(rows.batches(["at"]))


@pytest.fixture
def lines() -> bytes:
    """10,000 rows of differing lengths, under a header."""
    numbers = np.random.default_rng(0).integers(0, 1 << 40, (10_000, 2))
    return b"user,item\n" + b"".join(b"%d,%d\n" % (user >> user % 20, item) for user, item in numbers.tolist())


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_rows_are_told_without_reading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: bytes, name: str, packed: bool
) -> None:
    content = gzip.compress(lines) if name.endswith(".gz") else lines
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"user": np.arange(10_000)}), tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    path = tmp_path
    if packed:
        path = tmp_path / "data.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / name, name)
    with files_of(path) as files:
        rows = rows_of(name, files[name])
        assert rows.about() == 10_000
        monkeypatch.setattr(tables, "BLOCK", len(lines) // 4)  # no more of a CSV is read
        assert rows.about() == pytest.approx(10_000, rel=0.3)  # of so small a gzip, a good part is read ahead
        assert sum(batch.num_rows for batch in rows.batches(["user"])) == 10_000


def test_parts_add_up_and_a_table_in_memory_knows(lines: bytes) -> None:
    made = MadeRows("ratings.dat", pa.table({"user": [1, 2, 3]}))
    parts: list[Rows] = [CsvRows("a.csv", lambda: BytesIO(lines)), made]
    assert PartedRows("*", parts).about() == 10_003


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8bnonsense"], ids=["empty", "damaged"])
def test_what_cannot_be_told_is_nothing(name: str, content: bytes) -> None:
    """What is wrong with the file is said when it is read."""
    assert rows_of(name, lambda: BytesIO(content)).about() == 0
