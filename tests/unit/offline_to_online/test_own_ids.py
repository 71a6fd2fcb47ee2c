"""Checks speak of users and items by the data set's own ids, and compare who is who."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import ItemNumber
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from offline_to_online.rows import item_rows, user_rows
from tests.synthetic_release import write_artifacts, write_inputs
from tests.unit.offline_to_online.online_side import OnlineSide


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


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    write_artifacts(folder, recipe="default")
    name_by_strings(folder, "default")
    return folder


@pytest.fixture
def side(named: Path) -> OnlineSide:
    return OnlineSide(named, "default")


def test_rows_know_both(named: Path) -> None:
    assert all(row.own_id == user_of(row.number) for row in user_rows(named))
    for row in item_rows(named):
        assert row.own_id == row.title == item_of(row.itemid)
        assert row.document()["id"] == row.own_id


def test_a_disagreement_names_user_and_item_as_people_do(side: OnlineSide) -> None:
    stale = side.items.rows[3].itemid
    items = side.features.frames["item"]
    items.loc[items[Columns.ITEM] == stale, "item_likes"] += 1
    with pytest.raises(CheckError, match=rf"user 'u .*', item {re.escape(repr(item_of(stale)))}: offline"):
        side.check()


def test_a_user_who_has_somebody_elses_number_is_caught(side: OnlineSide) -> None:
    side.users.rows[user_of(5)] = replace(side.users.rows[user_of(5)], number=6)
    with pytest.raises(CheckError, match=rf"user {re.escape(repr(user_of(5)))}: Redis gives the number 6"):
        side.check()


def test_where_the_data_are_from_makes_no_other_release_but_what_they_are_does(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path, recipe_name="default")
    write_artifacts(tmp_path, recipe="default")
    said, before = artifacts.DATASET.read(tmp_path), release_of_artifacts(settings).release
    for change, same in (({"origin": "elsewhere", "sha256": {"a.csv": "0"}}, True), ({"user_ids": "string"}, False)):
        artifacts.DATASET.write(tmp_path, said | change)
        write_inputs(tmp_path)
        assert (release_of_artifacts(settings).release == before) == same


def test_attributes_are_told_by_their_declared_names(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    first = item_rows(tmp_path)[0]
    items = artifacts.ITEMS.read(tmp_path)
    assert first.attributes == {"genres": items.loc[0, Columns.GENRES].tolist(), "year": items.loc[0, "year"]}
    terms = [["brand: acme", "colour: red: dark", "colour: blue"], ["colour: red: dark"]] + [[]] * (len(items) - 2)
    prices = [9.5, 12.0] + [float("nan")] * (len(items) - 2)
    artifacts.ITEMS.write(tmp_path, items.assign(**{Columns.GENRES: terms, "price": prices}))
    declared = {"terms": ["brand", "colour"], "numbers": [ItemNumber(name="price (€)", column="price").model_dump()]}
    artifacts.DATASET.write(tmp_path, artifacts.DATASET.read(tmp_path) | declared)
    assert [row.attributes for row in item_rows(tmp_path)[:3]] == [
        {"brand": ["acme"], "colour": ["red: dark", "blue"], "price (€)": 9.5},
        {"brand": [], "colour": ["red: dark"], "price (€)": 12},
        {"brand": [], "colour": [], "price (€)": None},
    ]
