"""A supermarket's log goes live in the demo's stack: what was bought is recommended again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from data_exchange_center import artifacts
from data_exchange_center.release_parts import read_own_ids
from tests.e2e.road import Road
from tests.made_up_data import supermarket


@pytest.fixture(scope="module")
def sold(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    with road.with_data(supermarket(tmp_path_factory.mktemp("own") / "market")) as sold:
        yield sold


def test_habits_are_recommended_again(sold: Road) -> None:
    folder = sold.settings.exchange_dir
    ids, states = read_own_ids(folder), artifacts.USER_STATE.read(folder)
    for number, items in zip(states["userid"][10:20], states["items"][10:20], strict=True):
        answer = sold.recommend(ids.users[number], explain="recall").json()
        had = {ids.items[item] for item in items.tolist()}
        assert set(answer["recall"]["own"]) == had
        shown = [item["itemid"] for item in answer["item_list"]]
        assert len(had & set(shown[:10])) >= 5
        assert "subclass" in answer["item_list"][0]
