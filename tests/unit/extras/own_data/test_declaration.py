"""A dataset.toml: what it may say, and one sentence for each mistake in it."""

from __future__ import annotations

import pytest

from data_exchange_center.steps import StepError
from extras.own_data.declaration import parse
from tests.made_up_data import HALF_STARS, SHOP


def test_the_least_that_is_needed() -> None:
    shop = parse(SHOP)
    assert shop.interactions.value is None
    assert (shop.users, shop.items) == (None, None)
    assert (shop.holdout.share, shop.holdout.at_least, shop.holdout.at_most) == (0.1, 1, 10)


def test_an_attribute_is_a_kind_or_a_table_of_its_own() -> None:
    made = HALF_STARS.replace('"Preis" = "numeric"', 'price = { kind = "numeric", column = "Preis", scale = 10 }')
    items = parse(made).items
    assert items is not None
    assert items.attributes["Art"].kind == "multi-valued"
    assert (items.attributes["price"].column, items.attributes["price"].scale) == ("Preis", 10)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('user = "customer"\n', "", r"\[interactions\] user is missing"),
        ('name = "shop"\n', "", "name is missing"),
        ('user = "', 'usr = "', r"\[interactions\] user is missing"),
        ('item = "sku"', 'item = "sku"\nitme = "x"', r"\[interactions\] itme is no key that is known here"),
        ('"iso"', '"days"', r"\[interactions\] time_unit = 'days': input should be 's', 'ms', 'us' or 'iso'"),
        ('name = "shop"', 'name = "a b"', "name = 'a b'"),
        ('item = "sku"', 'item = "sku"\nvalue = "stars"', r"\[interactions\]: positive_above is missing"),
        (
            'item = "sku"',
            'item = "sku"\npositive_above = 3',
            r"\[interactions\]: positive_above and levels",
        ),
        ("[interactions]", "[holdout]\nlast = 3\nshare = 0.1\n[interactions]", r"\[holdout\]: either last or share"),
        ("[interactions]", "[interactions", "is not TOML"),
        ("[interactions]", '[items]\nid = "sku"\nattributes = { kind = "text" }\n[interactions]', "attributes.kind"),
        ("[interactions]", '[items]\nid = "sku"\nattributes = { title = "categorical" }\n[interactions]', "otherwise"),
        ("[interactions]", '[users]\nid = "u"\ncrossed = ["age"]\n[interactions]', "crossed names 'age'"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_its_place(old: str, new: str, message: str) -> None:
    assert old in SHOP
    with pytest.raises(StepError, match=rf"my/dataset\.toml:? .*{message}") as error:
        parse(SHOP.replace(old, new, 1), "my/dataset.toml")
    assert "\n" not in str(error.value)


def test_the_events_that_a_running_server_takes() -> None:
    assert parse(SHOP).events == {}
    assert parse(f'{SHOP}\n[events]\nbought = "rates"\nlooked-at = "notes"\n').events == {
        "bought": "rates", "looked-at": "notes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [('bought = "sells"', r"\[events\] bought = 'sells': input should be 'rates'"), ('"a b" = "rates"', r"\[events\]")],
)
def test_an_event_that_does_what_there_is_not(line: str, message: str) -> None:
    with pytest.raises(StepError, match=message):
        parse(f"{SHOP}\n[events]\n{line}\n")
