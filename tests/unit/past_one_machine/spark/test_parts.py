"""A table that Spark wrote in parts is the same artifact."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.files import sha256
from past_one_machine.spark.users import in_parts
from tests.unit.data_exchange_center.test_artifacts import OPEN, TABLE, frame  # noqa: F401 (a fixture)


def test_a_table_in_parts_is_read_as_one_and_replaces_a_file(tmp_path: Path, frame: pd.DataFrame) -> None:  # noqa: F811
    """And a file replaces it."""
    path = TABLE.write(tmp_path, frame)
    digest = sha256(path)
    with in_parts(TABLE, tmp_path) as folder:
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
    with in_parts(OPEN, tmp_path) as folder:
        pq.write_table(table, folder / "part-0.parquet")
    assert OPEN.read(tmp_path)["userid"].tolist() == [7]


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no part"), in_parts(TABLE, tmp_path):
        pass
    with (
        pytest.raises(ArtifactError, match=r"columns \['items'\] are absent and \['other'\] unexpected"),
        in_parts(TABLE, tmp_path) as folder,
    ):
        pd.DataFrame({"userid": [1], "other": [2]}).to_parquet(folder / "part-0.parquet")
    assert not TABLE.at(tmp_path).exists()
