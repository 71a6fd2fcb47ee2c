"""Files are written whole or not at all, and a missing or wrong one says which step mends it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_exchange_center.artifacts import ArtifactError, Binary, Document, Table
from data_exchange_center.files import sha256, written_in_place

TABLE = Table("t/x.parquet", "maker.py", "test", {"userid": pa.int32(), "items": pa.list_(pa.int32())})
OPEN = Table("t/open.parquet", "maker.py", "test", {"userid": pa.int32()}, open_ended=(pa.int8(),))
MIXED = Table("t/mixed.parquet", "maker.py", "test", {"userid": pa.int32()}, open_ended=(pa.string(), pa.int64()))
DOCUMENT = Document("t/x.json", "maker.py", "test")


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"userid": [1, 2], "items": [[3, 4], []]})


def test_a_table_comes_back_as_it_was_written(tmp_path: Path, frame: pd.DataFrame) -> None:
    TABLE.write(tmp_path, frame)
    back = TABLE.read(tmp_path)
    assert back["userid"].tolist() == [1, 2]
    assert [list(items) for items in back["items"]] == [[3, 4], []]
    assert TABLE.read(tmp_path, columns=["userid"]).columns.tolist() == ["userid"]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 3), slice(2, 9), slice(9, 10), slice(4, 4)])
def test_some_rows_of_a_table_are_read_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int, rows: slice
) -> None:
    """Of a file in groups of two rows, or of two such files."""
    frame = pd.DataFrame({"userid": np.arange(10), "items": [[n] * n for n in range(10)]})
    table = replace(TABLE, rows_together=2)
    if parts == 1:
        table.write(tmp_path, frame)
    else:
        with table.in_parts(tmp_path) as folder:
            for number, some in enumerate((frame[:5], frame[5:])):
                table.write(tmp_path / "scratch", some).rename(folder / f"part-{number}.parquet")
    read, of_file = [], pq.ParquetFile.read_row_group

    def watched(file: pq.ParquetFile, number: int, *args: Any) -> pa.Table:
        found = of_file(file, number, *args)
        read.extend(found["userid"].to_pylist())
        return found

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", watched)
    found = table.read_arrow(tmp_path, share=lambda total: rows if total == 10 else slice(0)).to_pandas()
    pd.testing.assert_frame_equal(found, table.read(tmp_path)[rows].reset_index(drop=True))
    assert len(read) <= len(frame[rows]) + 2
    userids = table.read_arrow(tmp_path, ["userid"], share=lambda _: rows)["userid"].to_pylist()
    assert userids == found["userid"].tolist()


def test_the_same_table_gives_the_same_bytes(tmp_path: Path, frame: pd.DataFrame) -> None:
    first = TABLE.write(tmp_path / "a", frame).read_bytes()
    second = TABLE.write(tmp_path / "b", frame.set_index("userid", drop=False)).read_bytes()
    assert first == second


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (pd.DataFrame({"userid": [1]}), r"\['items'\] are absent"),
        (pd.DataFrame({"userid": [1], "items": [[1]], "more": [1]}), r"\['more'\] unexpected"),
    ],
)
def test_a_table_with_other_columns_is_not_written(tmp_path: Path, wrong: pd.DataFrame, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        TABLE.write(tmp_path, wrong)
    assert not TABLE.at(tmp_path).exists()


def test_an_open_ended_table_holds_more_columns_of_one_type(tmp_path: Path) -> None:
    OPEN.write(tmp_path, pd.DataFrame({"userid": [1], "imp_drama": [3], "click_drama": [2]}))
    assert OPEN.read(tmp_path).iloc[0].to_dict() == {"userid": 1, "imp_drama": 3, "click_drama": 2}


def test_an_open_ended_table_may_hold_more_than_one_type(tmp_path: Path) -> None:
    MIXED.write(tmp_path, pd.DataFrame({"userid": [1], "job": ["writer"], "n": [2]}))
    assert MIXED.read(tmp_path).iloc[0].to_dict() == {"userid": 1, "job": "writer", "n": 2}


@pytest.mark.parametrize("damage", [b"", b"not parquet"])
def test_a_damaged_table_says_run_the_step_again(tmp_path: Path, frame: pd.DataFrame, damage: bytes) -> None:
    TABLE.write(tmp_path, frame).write_bytes(damage)
    with pytest.raises(ArtifactError, match=r"maker\.py: run that step again"):
        TABLE.read(tmp_path)


def test_a_table_of_another_make_is_refused(tmp_path: Path, frame: pd.DataFrame) -> None:
    TABLE.at(tmp_path).parent.mkdir()
    frame.astype({"userid": "int64"}).to_parquet(TABLE.at(tmp_path))
    with pytest.raises(ArtifactError, match="not as expected"):
        TABLE.read(tmp_path)


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_damaged_document_says_run_the_step_again(tmp_path: Path, content: str) -> None:
    DOCUMENT.write(tmp_path, {"a": 1}).write_text(content)
    with pytest.raises(ArtifactError, match="run that step again"):
        DOCUMENT.read(tmp_path)


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def interrupted() -> None:
        with written_in_place(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_binary_comes_back_as_it_was_written(tmp_path: Path) -> None:
    weights = Binary("w.bin", "maker.py", "test")
    weights.write(tmp_path, b"\x00\x01")
    assert weights.read(tmp_path) == b"\x00\x01"


def test_a_binary_is_unpacked_or_named_as_wrong(tmp_path: Path) -> None:
    numbers = Binary("n.bin", "maker.py", "test")
    numbers.write(tmp_path, b"12")
    assert numbers.read_as(tmp_path, int) == 12
    numbers.write(tmp_path, b"twelve")
    with pytest.raises(ArtifactError, match=r"n\.bin: cannot be read .*maker\.py: run that step again"):
        numbers.read_as(tmp_path, int)


def test_a_table_in_parts_is_read_as_one_and_replaces_a_file(tmp_path: Path, frame: pd.DataFrame) -> None:
    """And a file replaces it."""
    path = TABLE.write(tmp_path, frame)
    digest = sha256(path)
    with TABLE.in_parts(tmp_path) as folder:
        for number, rows in enumerate((frame[:1], frame[1:])):
            TABLE.write(tmp_path / "other", rows).rename(folder / f"part-{number:05d}-x.zstd.parquet")
        (folder / "_SUCCESS").touch()
    assert TABLE.read(tmp_path)["userid"].tolist() == [1, 2]
    assert [file.name[:10] for file in sorted(path.iterdir())] == ["part-00000", "part-00001"]
    assert sha256(path) != digest
    TABLE.write(tmp_path, frame)
    assert sha256(path) == digest


def test_that_an_engine_says_there_is_no_null_changes_nothing(tmp_path: Path) -> None:
    table = pa.table({"userid": [7]}, pa.schema([pa.field("userid", pa.int32(), nullable=False)]))
    with OPEN.in_parts(tmp_path) as folder:
        pq.write_table(table, folder / "part-0.parquet")
    assert OPEN.read(tmp_path)["userid"].tolist() == [7]


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no part"), TABLE.in_parts(tmp_path):
        pass
    with (
        pytest.raises(ArtifactError, match=r"columns \['items'\] are absent and \['other'\] unexpected"),
        TABLE.in_parts(tmp_path) as folder,
    ):
        pd.DataFrame({"userid": [1], "other": [2]}).to_parquet(folder / "part-0.parquet")
    assert not TABLE.at(tmp_path).exists()
