"""The files that the chapter "Your own data" shows are a data set, in both languages the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from offline.ingestion.declaration import AttributeSpec, InteractionsTable, ItemsTable, UsersTable, parse
from offline.preprocess import s0_get_data
from tests.readmes import ROOT

PAGES = {"README.md": "## Your own data", "README.zh-CN.md": "## 用自己的数据"}


def chapter(page: str) -> str:
    text = (ROOT / "offline" / page).read_text(encoding="utf-8")
    return text[text.index(PAGES[page]) :].split("\n## ")[0]


def shown(page: str) -> dict[str, str]:
    return dict(re.findall(r"^`([\w.]+)`[^\n]*\n\n```(?:csv|toml)\n(.*?)```", chapter(page), re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_the_files_of_the_chapter_are_a_data_set(page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = shown(page)
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


def test_both_languages_declare_the_same() -> None:
    one, other = (parse(shown(page)["dataset.toml"]) for page in PAGES)
    assert one == other


@pytest.mark.parametrize("page", PAGES)
def test_the_chapter_names_every_key(page: str) -> None:
    text = chapter(page)
    for table in (InteractionsTable, UsersTable, ItemsTable):
        assert [key for key in table.model_fields if f"`{key}`" not in text] == []
    tuned = {"kind", "column", "values"}  # scale, centres, width, shown: for MovieLens
    assert [key for key in tuned & set(AttributeSpec.model_fields) if key not in text] == []
