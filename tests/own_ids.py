"""A synthetic release whose users and items have strings for ids."""

from __future__ import annotations

from pathlib import Path

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from tests.synthetic_release import write_inputs


def user_of(number: int) -> str:
    """Sorted otherwise than the numbers, with what a key, a pattern or a URL could stumble over."""
    return f"u {number % 7}/*é{number}"


def item_of(number: int) -> str:
    return f"sku[{number % 7}]:{number}"


def name_by_strings(folder: Path, recipe: str) -> None:
    """Give the users and items of the artifacts in ``folder`` other ids; items lose their titles."""
    users, items = artifacts.USERS.read(folder), artifacts.ITEMS.read(folder)
    own_items = items[Columns.ITEM].map(item_of)
    artifacts.USERS.write(folder, users.assign(**{Columns.OWN_ID: users[Columns.USER].map(user_of)}))
    artifacts.ITEMS.write(folder, items.assign(**{Columns.OWN_ID: own_items, Columns.TITLE: own_items}))
    kinds = {"user_ids": "string", "item_ids": "string"}
    artifacts.DATASET.write(folder, artifacts.DATASET.read(folder) | kinds)
    write_inputs(folder, recipe)
