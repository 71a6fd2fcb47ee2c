"""Rows that a release loads, read from the artifacts, and the users that checks sample."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import ItemNumber
from data_exchange_center.release_parts import (
    read_users,
    release_of_artifacts,
)
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from data_exchange_center.wire import vector_of
from offline_to_online.rows import (
    LONGEST,
    item_rows,
    sampled_users,
)
from tests.synthetic_release import write_artifacts, write_inputs
from tests.unit.offline_to_online.online_side import OnlineSide, row_of


def test_every_user_of_the_artifacts_is_a_row(tmp_path: Path) -> None:
    """Somebody who is in no list of users is one sentence."""
    write_artifacts(tmp_path, recipe="source")
    field = vector_of("fm")
    vectors = artifacts.USER_VECTORS.read(tmp_path)
    vectors = vectors[vectors[Columns.USER] != 3]
    vectors[field] = vectors[field].where(vectors[Columns.USER] != 4, None)
    artifacts.USER_VECTORS.write(tmp_path, vectors)
    rows = read_users(tmp_path)
    assert [row.number for row in rows] == list(range(1, 61))
    assert [row.number for row in rows if not row.vectors] == [3, 4]
    seen = artifacts.USER_SEEN.read(tmp_path).set_index(Columns.USER)[Columns.SEEN]
    assert all(row.seen.tolist() == list(seen[row.number]) for row in rows)
    users = artifacts.USERS.read(tmp_path)
    artifacts.USERS.write(tmp_path, users[users[Columns.USER] != 7])
    with pytest.raises(
        ArtifactError,
        match=r"users\.parquet: user number 7 is not in it.*s1_data_split\.py",
    ):
        read_users(tmp_path)


def test_samples_hold_the_longest_histories_and_repeat() -> None:
    rows = [row_of(n, [], [1.0], list(range(1, n + 1))) for n in range(1, 201)]
    # neither vector nor history: nothing to compare
    rows.append(row_of(999, [], None, list(range(1, 999))))
    users = [row.number for row in sampled_users(rows, 50)]
    assert len(set(users)) == 50
    assert set(range(201 - LONGEST, 201)) <= set(users) <= set(range(1, 201))
    assert users == [row.number for row in sampled_users(rows[::-1], 50)]


# Checks speak of users and items by the data set's own ids, and compare who is who


def user_of(number: int) -> str:
    """Sorted otherwise than the numbers, with what a key, a pattern or a URL could stumble over."""
    return f"u {number % 7}/*é{number}"


def item_of(number: int) -> str:
    return f"sku[{number % 7}]:{number}"


def name_by_strings(folder: Path, recipe: str) -> None:
    """Give the users and items of the artifacts in ``folder`` other ids; items lose their titles."""
    users = artifacts.USERS.read(folder)
    items = artifacts.ITEMS.read(folder)
    own_items = items[Columns.ITEM].map(item_of)
    artifacts.USERS.write(
        folder, users.assign(**{Columns.OWN_ID: users[Columns.USER].map(user_of)})
    )
    artifacts.ITEMS.write(
        folder, items.assign(**{Columns.OWN_ID: own_items, Columns.TITLE: own_items})
    )
    kinds = {"user_ids": "string", "item_ids": "string"}
    artifacts.DATASET.write(folder, artifacts.DATASET.read(folder) | kinds)
    write_inputs(folder, recipe)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    write_artifacts(folder, recipe="default")
    name_by_strings(folder, "default")
    return folder


def test_a_disagreement_names_user_and_item_as_people_do(named: Path) -> None:
    side = OnlineSide(named, "default")
    for row in side.items.rows:
        assert row.own_id == row.title == row.document()["id"] == item_of(row.number)
    stale = side.items.rows[3].number
    items = side.features.frames["item"]
    items.loc[items[Columns.ITEM] == stale, "item_likes"] += 1
    item = re.escape(repr(item_of(stale)))
    with pytest.raises(CheckError, match=rf"user 'u .*', item {item}: offline"):
        side.check()


def test_a_user_who_has_somebody_elses_number_is_caught(named: Path) -> None:
    side = OnlineSide(named, "default")
    own_id = user_of(5)
    side.users.rows[own_id] = replace(side.users.rows[own_id], number=6)
    said = f"user {re.escape(repr(own_id))}: Redis gives the number 6"
    with pytest.raises(CheckError, match=said):
        side.check()


def test_the_release_id_depends_on_data_not_on_its_origin(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path)
    write_artifacts(tmp_path)
    said = artifacts.DATASET.read(tmp_path)
    before = release_of_artifacts(settings).release
    for change, same in (
        ({"origin": "elsewhere", "sha256": {"a.csv": "0"}}, True),
        ({"user_ids": "string"}, False),
    ):
        artifacts.DATASET.write(tmp_path, said | change)
        write_inputs(tmp_path)
        assert (release_of_artifacts(settings).release == before) == same


def test_attributes_have_their_declared_names(tmp_path: Path) -> None:
    write_artifacts(tmp_path)
    items = artifacts.ITEMS.read(tmp_path)
    genres, year = items.loc[0, [Columns.GENRES, "year"]]
    assert item_rows(tmp_path)[0].attributes == {"genres": list(genres), "year": year}
    rest = len(items) - 2
    first, second = (
        ["brand: acme", "colour: red: dark", "colour: blue"],
        ["colour: red: dark"],
    )
    columns = {
        Columns.GENRES: [first, second, *[[]] * rest],
        "price": [9.5, 12.0, *[float("nan")] * rest],
    }
    artifacts.ITEMS.write(tmp_path, items.assign(**columns))
    price = ItemNumber(name="price (€)", column="price")
    declared = {"terms": ["brand", "colour"], "numbers": [price.model_dump()]}
    artifacts.DATASET.write(tmp_path, artifacts.DATASET.read(tmp_path) | declared)
    assert [row.attributes for row in item_rows(tmp_path)[:3]] == [
        {"brand": ["acme"], "colour": ["red: dark", "blue"], "price (€)": 9.5},
        {"brand": [], "colour": ["red: dark"], "price (€)": 12},
        {"brand": [], "colour": [], "price (€)": None},
    ]
