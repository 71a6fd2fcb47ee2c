from __future__ import annotations

import pytest

from data_exchange_center.steps import StepError
from extras.own_data.declaration import parse
from tests.made_up_data import SHOP

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
