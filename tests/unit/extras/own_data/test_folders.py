"""A folder and a zip of it hold the same files under the same names."""

from __future__ import annotations

import zipfile
from pathlib import Path

from offline.movielens import files_of


def test_of_two_files_with_one_name_the_first_in_order_is_taken(tmp_path: Path) -> None:
    folder, archive = tmp_path / "folder", tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("b/x.csv", "a/x.csv", "c/x.csv", "a-b/x.csv"):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(name)
            file.write(folder / name, name)
    for path in (folder, archive):
        with files_of(path) as files:
            assert files["x.csv"].read_text() == "a/x.csv"
