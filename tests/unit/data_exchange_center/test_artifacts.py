"""What is no artifact, or a damaged one, is named with the step that makes it; who may read files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from data_exchange_center.artifacts import ArtifactError, Binary, Document, Table
from data_exchange_center.files import write_json, written_in_place
from stack.service import generated_secret

TABLE = Table(
    "t/x.parquet", "maker.py", {"userid": pa.int32(), "items": pa.list_(pa.int32())}
)
DOCUMENT = Document("t/x.json", "maker.py")


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"userid": [1, 2], "items": [[3, 4], []]})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (pd.DataFrame({"userid": [1]}), r"\['items'\] are absent"),
        (
            pd.DataFrame({"userid": [1], "items": [[1]], "more": [1]}),
            r"\['more'\] unexpected",
        ),
    ],
)
def test_a_table_with_other_columns_is_not_written(
    tmp_path: Path, wrong: pd.DataFrame, message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        TABLE.write(tmp_path, wrong)
    assert not TABLE.at(tmp_path).exists()


@pytest.mark.parametrize(
    ("artifact", "damage"),
    [
        (TABLE, b""),
        (TABLE, b"not parquet"),
        (DOCUMENT, b""),
        (DOCUMENT, b"[1]"),
        (DOCUMENT, b"{"),
    ],
)
def test_a_damaged_file_says_run_the_step_again(
    tmp_path: Path, artifact: Table | Document, damage: bytes
) -> None:
    (tmp_path / "t").mkdir()
    artifact.at(tmp_path).write_bytes(damage)
    with pytest.raises(ArtifactError, match=r"maker\.py: run that step again"):
        artifact.read(tmp_path)


def test_a_table_of_another_make_is_refused(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    (tmp_path / "t").mkdir()
    frame.to_parquet(TABLE.at(tmp_path))
    with pytest.raises(ArtifactError, match="not as expected"):
        TABLE.read(tmp_path)


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


def test_a_binary_that_cannot_be_unpacked_is_named(tmp_path: Path) -> None:
    numbers = Binary("n.bin", "maker.py")
    numbers.write(tmp_path, b"twelve")
    with pytest.raises(
        ArtifactError, match=r"n\.bin: cannot be read .*maker\.py: run that step again"
    ):
        numbers.read_as(tmp_path, int)


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Even with a umask that lets everybody read."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_file_is_its_owners_alone_unless_a_mode_is_given(tmp_path: Path) -> None:
    write_json(tmp_path / "own", {})
    with written_in_place(tmp_path / "shared", mode=0o644) as temporary:
        temporary.touch()
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("own", "shared")] == [
        0o600,
        0o644,
    ]


def test_a_secret_is_generated_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "redis" / "password"
    secret = generated_secret(path)
    assert len(secret) > 40
    assert generated_secret(path) == secret != generated_secret(tmp_path / "other")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )
