from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.own_data.declaration import parse
from offline.preprocess import s0_get_data
from tests.made_up_data import HALF_STARS, SHOP
from tests.readmes import ROOT


def test_an_attribute_is_a_kind_or_a_table_of_its_own() -> None:
    made = HALF_STARS.replace(
        '"Preis" = "numeric"',
        'price = { kind = "numeric", column = "Preis", scale = 10 }',
    )
    items = parse(made).items
    assert items.attributes["Art"].kind == "multi-valued"
    assert (items.attributes["price"].column, items.attributes["price"].scale) == (
        "Preis",
        10,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('user = "customer"\n', "", r"\[interactions\] user is missing"),
        ('name = "shop"\n', "", "name is missing"),
        ('user = "', 'usr = "', r"\[interactions\] user is missing"),
        (
            'item = "sku"',
            'item = "sku"\nitme = "x"',
            r"\[interactions\] itme is no key that is known here",
        ),
        (
            '"iso"',
            '"days"',
            r"\[interactions\] time_unit = 'days': input should be 's', 'ms', 'us' or 'iso'",
        ),
        ('name = "shop"', 'name = "a b"', "name = 'a b'"),
        (
            'item = "sku"',
            'item = "sku"\nvalue = "stars"',
            r"\[interactions\]: positive_above is missing",
        ),
        (
            'item = "sku"',
            'item = "sku"\npositive_above = 3',
            r"\[interactions\]: positive_above and levels",
        ),
        (
            "[interactions]",
            "[holdout]\nlast = 3\nshare = 0.1\n[interactions]",
            r"\[holdout\]: give exactly one of",
        ),
        ("[interactions]", "[interactions", "is not TOML"),
        (
            "[interactions]",
            '[items]\nid = "sku"\nattributes = { kind = "text" }\n[interactions]',
            "attributes.kind",
        ),
        (
            "[interactions]",
            '[items]\nid = "sku"\nattributes = { title = "categorical" }\n[interactions]',
            "otherwise",
        ),
        (
            "[interactions]",
            '[users]\nid = "u"\ncrossed = ["age"]\n[interactions]',
            "crossed names 'age'",
        ),
        (
            "[interactions]",
            '[events]\nbought = "sells"\n[interactions]',
            r"bought = 'sells': input should be 'rates'",
        ),
        ("[interactions]", '[events]\n"a b" = "rates"\n[interactions]', r"\[events\]"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_its_place(
    old: str, new: str, message: str
) -> None:
    assert old in SHOP
    with pytest.raises(StepError, match=rf"my/dataset\.toml:? .*{message}") as error:
        parse(SHOP.replace(old, new, 1), "my/dataset.toml")
    assert "\n" not in str(error.value)


def test_the_events_that_a_running_server_takes() -> None:
    assert parse(SHOP).events == {}
    assert parse(
        f'{SHOP}\n[events]\nbought = "rates"\nlooked-at = "notes"\n'
    ).events == {
        "bought": "rates",
        "looked-at": "notes",
    }


CHAPTER = (ROOT / "extras" / "own_data" / "README.md").read_text(encoding="utf-8")


def test_the_files_of_the_chapter_are_a_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = re.findall(
        r"^`([\w.]+)`[^\n]*\n\n```(?:csv|toml)\n(.*?)```",
        CHAPTER,
        re.DOTALL | re.MULTILINE,
    )
    files = dict(shown)
    assert set(files) == {"interactions.csv", "users.csv", "items.csv", "dataset.toml"}
    folder = tmp_path / "my-shop"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    settings = Settings(data=folder, exchange_dir=tmp_path / "exchange")
    s0_get_data.main(settings)
    assert (
        "my-shop: 3 ratings of 2 users for 3 items in 5 brand and kinds"
        in capsys.readouterr().out
    )
    dataset = read_dataset(settings.exchange_dir)
    assert (dataset.levels, dataset.positive_level) == ((2.5, 4, 5), 1)
    assert dataset.profile == ("country", "born", "interests_garden", "interests_music")
    assert [number.name for number in dataset.numbers] == ["price"]
