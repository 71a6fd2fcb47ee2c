"""The files that the chapter shows are a data set, and it names every key of a dataset.toml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from extras.own_data.declaration import AttributeSpec, InteractionsTable, ItemsTable, UsersTable
from offline.preprocess import s0_get_data
from tests.readmes import ROOT

CHAPTER = (ROOT / "extras" / "own_data" / "README.md").read_text(encoding="utf-8")


def test_the_files_of_the_chapter_are_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^`([\w.]+)`[^\n]*\n\n```(?:csv|toml)\n(.*?)```", CHAPTER, re.DOTALL | re.MULTILINE)
    files = dict(shown)
    assert set(files) == {"interactions.csv", "users.csv", "items.csv", "dataset.toml"}
    folder = tmp_path / "my-shop"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    settings = Settings(data=folder, exchange_dir=tmp_path / "exchange")
    s0_get_data.main(settings)
    assert "my-shop: 3 ratings of 2 users for 3 items in 5 brand and kinds" in capsys.readouterr().out
    dataset = read_dataset(settings.exchange_dir)
    assert (dataset.levels, dataset.positive_level) == ((2.5, 4, 5), 1)
    assert dataset.profile == ("country", "born", "interests_garden", "interests_music")
    assert [number.name for number in dataset.numbers] == ["price"]


def test_the_chapter_names_every_key() -> None:
    for table in (InteractionsTable, UsersTable, ItemsTable):
        assert [key for key in table.model_fields if f"`{key}`" not in CHAPTER] == []
    tuned = {"kind", "column", "values"}  # scale, centres, width, shown: for MovieLens
    assert [key for key in tuned & set(AttributeSpec.model_fields) if key not in CHAPTER] == []
