"""The registry says of every file where it lies and which step makes it."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from data_exchange_center.artifacts import ARTIFACTS, ArtifactError, Binary, Document, Table
from data_exchange_center.files import written_in_place


def test_a_missing_file_names_the_step_that_makes_it(tmp_path: Path) -> None:
    for artifact in ARTIFACTS:
        with pytest.raises(ArtifactError, match=artifact.made_by):
            artifact.read(tmp_path)


TABLE = Table("t/x.parquet", "maker.py", {"userid": pa.int32(), "items": pa.list_(pa.int32())})
OPEN = Table("t/open.parquet", "maker.py", {"userid": pa.int32()}, open_ended=(pa.string(), pa.int64()))
DOCUMENT = Document("t/x.json", "maker.py")


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"userid": [1, 2], "items": [[3, 4], []]})


def test_a_table_comes_back_as_it_was_written(tmp_path: Path, frame: pd.DataFrame) -> None:
    TABLE.write(tmp_path, frame)
    back = TABLE.read(tmp_path)
    assert back["userid"].tolist() == [1, 2]
    assert [list(items) for items in back["items"]] == [[3, 4], []]
    assert TABLE.read(tmp_path, columns=["userid"]).columns.tolist() == ["userid"]


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


def test_an_open_ended_table_holds_more_columns_of_its_types(tmp_path: Path) -> None:
    OPEN.write(tmp_path, pd.DataFrame({"userid": [1], "job": ["writer"], "n": [2]}))
    assert OPEN.read(tmp_path).iloc[0].to_dict() == {"userid": 1, "job": "writer", "n": 2}


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
    DOCUMENT.write(tmp_path, {"a": 1})
    DOCUMENT.at(tmp_path).write_text(content)
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


def test_a_binary_is_unpacked_or_named_as_wrong(tmp_path: Path) -> None:
    numbers = Binary("n.bin", "maker.py")
    numbers.write(tmp_path, b"12")
    assert numbers.read_as(tmp_path, int) == 12
    numbers.write(tmp_path, b"twelve")
    with pytest.raises(ArtifactError, match=r"n\.bin: cannot be read .*maker\.py: run that step again"):
        numbers.read_as(tmp_path, int)
