"""A shop's own data go live in the demo's stack: ids are strings, views have no value, nothing has an attribute."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from data_exchange_center import artifacts
from data_exchange_center.release_parts import read_own_ids
from tests.e2e.road import Road
from tests.made_up_data import shop


@pytest.fixture(scope="module")
def sold(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The demo's stack with the shop's data live on it."""
    with road.with_data(shop(tmp_path_factory.mktemp("own") / "shop")) as sold:
        yield sold


def test_fifty_unseen_items_by_the_shops_own_ids(sold: Road) -> None:
    folder = sold.settings.exchange_dir
    ids, seen = read_own_ids(folder), artifacts.USER_SEEN.read(folder).set_index("userid")["seen"]
    few = seen[seen.map(len) <= 25]
    for number in few.index[:20]:
        answer = sold.recommend(ids.users[number], explain=True).json()
        assert answer["userid"] == ids.users[number]
        itemids = [item["itemid"] for item in answer["item_list"]]
        assert len(set(itemids)) == 50
        assert set(itemids) <= set(answer["recall"]["fused"]) <= set(ids.items.values())
        assert not set(itemids) & {ids.items[item] for item in seen[number]}
        assert all(list(item) == ["itemid", "score", "title"] for item in answer["item_list"])


def test_the_client_asks_for_the_first_user_and_shows_curl(sold: Road) -> None:
    first = read_own_ids(sold.settings.exchange_dir).users[1]
    done = sold.step("online/main/s2_client.py")
    assert done.returncode == 0, done.stdout
    assert f"For user {first}" in done.stdout
    (told,) = re.findall(r"Ask it yourself:  (curl .*)", done.stdout)
    again = sold.run("bash", "-c", told)
    assert f'"userid":"{first}"' in again.stdout.replace('": "', '":"')
    assert "SKU/" in done.stdout
