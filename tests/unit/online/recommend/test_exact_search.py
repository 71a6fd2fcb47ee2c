"""The search in memory keeps the contract of the search in Elasticsearch."""

from __future__ import annotations

import numpy as np
import pytest

from data_exchange_center.recipes import SOURCE
from online.clients.elastic import IndexedItem, ItemQuery
from online.recommend.fallback import ExactItems
from tests.unit.online import contracts
from tests.unit.online.fakes import FakeItems
from tests.unit.online.world import World


@pytest.fixture
def world(kind: type[World]) -> World:
    return kind()


@pytest.fixture
def client(world: World) -> ExactItems:
    return ExactItems.of(
        FakeItems(world).indexed(world.release, world.itemids, list(world.vector_dims)), world.vector_dims
    )


class TestExactItems(contracts.SearchContract):
    """All of it."""


def test_what_is_not_there_cannot_be_found_and_the_rest_is(world: World) -> None:
    half = world.itemids[: len(world.itemids) // 2]
    dims = world.vector_dims
    exact = ExactItems.of(FakeItems(world).indexed(world.release, half, list(dims)), dims)
    query = contracts.SearchContract()._query(world, 1, seen=world.itemids[:7] + world.itemids[-7:])
    for hits in exact.call(query):
        assert set(hits.ids.tolist()) <= set(half) - set(world.itemids[:7])
        assert len(hits.ids)


def test_it_knows_which_items_have_terms_and_vectors(world: World, client: ExactItems) -> None:
    for itemid in world.itemids:
        assert {code for code in range(1, 6) if client.has_term(itemid, code)} == set(world.genres[itemid])
        assert client.has_vector(itemid) is (itemid in world.trained)
    assert not client.has_term(10**6, 1)
    assert client.has_vector(10**6)  # not held, so nothing is known against it


@pytest.mark.parametrize("seen", [[2, 9], [9, 2], [9, 2, 2], [0, 2, 1000]])
def test_seen_items_are_left_out_in_whatever_order_they_are_stored(seen: list[int]) -> None:
    (channel,) = (channel.name for channel in SOURCE.recall.channels)
    vector = np.array([1, 2], np.float32)
    items = [IndexedItem(itemid, (), {channel: vector}) for itemid in (1, 2, 3)]
    query = ItemQuery("r", SOURCE.recall, {channel: vector}, seen=np.array(seen, np.int32))
    (hits,) = ExactItems.of(items, {channel: 2}).call(query)
    assert hits.ids.tolist() == [1, 3]
