from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.own_data.declaration import parse
from offline.preprocess import s0_get_data
from tests.made_up_data import SHOP
from tests.readmes import ROOT

EVENTS = "[interactions]\n"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('user = "', 'usr = "', r"interactions\.user"),
        (EVENTS, f'{EVENTS}itme = "x"\n', r"interactions\.itme"),
        ('"iso"', '"days"', r"interactions\.time_unit"),
        ('name = "shop"', 'name = "a b"', "name"),
        (EVENTS, f'{EVENTS}value = "stars"\n', "interactions: .*positive_above"),
        (EVENTS, f"[holdout]\nlast = 3\nshare = 0.1\n{EVENTS}", "holdout"),
        (EVENTS, "[interactions", "is not TOML"),
        (
            EVENTS,
            f'[items]\nid = "i"\nattributes.kind = "text"\n{EVENTS}',
            "items.*kind",
        ),
        (
            EVENTS,
            f'[items]\nid = "i"\nattributes.title = "categorical"\n{EVENTS}',
            "items.*'title'",
        ),
        (EVENTS, f'[events]\nbought = "sells"\n{EVENTS}', r"events\.bought"),
        (EVENTS, f'recipe = "none"\n{EVENTS}', "recipe"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_its_place(
    old: str, new: str, key: str
) -> None:
    assert old in SHOP
    with pytest.raises(StepError, match=rf"my/dataset\.toml:? {key}") as error:
        parse(SHOP.replace(old, new, 1), "my/dataset.toml")
    assert "\n" not in str(error.value)


CHAPTER = (ROOT / "extras" / "own_data" / "README.md").read_text(encoding="utf-8")


def test_the_files_of_the_chapter_are_a_data_set(tmp_path: Path) -> None:
    shown = re.findall(
        r"^`([\w.]+)`[^\n]*\n\n```(?:csv|toml)\n(.*?)```",
        CHAPTER,
        re.DOTALL | re.MULTILINE,
    )
    assert len(shown) == 4
    folder = tmp_path / "my-shop"
    folder.mkdir()
    for name, content in shown:
        (folder / name).write_text(content, encoding="utf-8")
    settings = Settings(data=folder, exchange_dir=tmp_path / "exchange")
    s0_get_data.main(settings)
    dataset = read_dataset(settings.exchange_dir)
    assert dataset.name == "my-shop"
    assert dataset.counts == {"ratings": 3, "users": 2, "items": 3, "genres": 5}
    assert (dataset.levels, dataset.positive_level) == ((2.5, 4, 5), 1)
    assert dataset.profile == ("country", "born", "interests_garden", "interests_music")
    assert [number.name for number in dataset.numbers] == ["price"]
