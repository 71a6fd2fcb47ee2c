from __future__ import annotations

from pathlib import Path

import pytest

from past_one_machine.spark.users import folder_written_in_place


@pytest.mark.parametrize("before", ["nothing", "a file", "a folder"])
def test_a_folder_replaces_what_was_there(tmp_path: Path, before: str) -> None:
    path = tmp_path / "inside" / "made"
    if before != "nothing":
        path.parent.mkdir()
    if before == "a file":
        path.write_text("old")
    if before == "a folder":
        path.mkdir()
        (path / "old").write_text("old")
    with folder_written_in_place(path) as temporary:
        (temporary / "new").write_text("new")
        assert path.exists() == (before != "nothing")
    assert [file.name for file in path.iterdir()] == ["new"]
    assert [file.name for file in path.parent.iterdir()] == ["made"]


def test_a_folder_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.mkdir()
    (path / "old").write_text("old")

    def fail() -> None:
        with folder_written_in_place(path) as temporary:
            (temporary / "new").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [file.name for file in path.iterdir()] == ["old"]
    assert [file.name for file in tmp_path.iterdir()] == ["made"]
