from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import pytest

from data_exchange_center.features import DenseFeature, Encoded, FlagFeature
from online.clients.base import ServiceError
from online.clients.feast import EncodedItems
from online.recommend.item_cache import (
    CHUNK,
    RETRY_AFTER_S,
    VALUES,
    ItemCache,
    fetch_items,
)
from tests.unit.online.fakes import FakeFeatures
from tests.unit.online.world import SourceWorld

TTL_S = 300.0
FEATURE = DenseFeature(name="number", entity="item", scale=1)


def encoded(itemids: list[int], values: list[int]) -> EncodedItems:
    return EncodedItems(
        np.array(itemids, np.int32),
        Encoded((FEATURE,), np.array(values, np.float32)[:, None]),
    )


class Later(Executor):
    """Keeps what is submitted until the test runs it."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting.append(fn)
        return Future()

    def run(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


def source(*copies: EncodedItems | Exception) -> Callable[[], EncodedItems]:
    """One after the other is fetched, or raised."""
    left = list(copies)

    def fetch() -> EncodedItems:
        each = left.pop(0)
        if isinstance(each, Exception):
            raise each
        return each

    return fetch


FIRST, SECOND = encoded([7], [1]), encoded([7], [2])


def copy(cache: ItemCache) -> int:
    return int(cache.current().rows.at(0)[0, 0])


def test_a_stale_copy_serves_while_a_new_one_is_fetched_once() -> None:
    later, now = Later(), [0.0]
    cache = ItemCache(source(FIRST, SECOND), TTL_S, later, lambda: now[0])
    now[0] = TTL_S
    assert [copy(cache) for _ in range(5)] == [1] * 5
    assert len(later.waiting) == 1
    before = cache.fetched_at
    later.run()
    assert copy(cache) == 2
    assert cache.fetched_at > before
    now[0] = 2 * TTL_S - 0.001
    assert copy(cache) == 2
    assert later.waiting == []


@pytest.mark.parametrize(
    "error",
    [ServiceError("feast", "cannot be reached"), RuntimeError("no one expected this")],
)
def test_a_refresh_that_fails_is_logged_and_tried_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    later, now = Later(), [0.0]
    cache = ItemCache(source(FIRST, error, SECOND), TTL_S, later, lambda: now[0])
    now[0] = TTL_S
    assert copy(cache) == 1
    later.run()
    assert "could not be refreshed" in caplog.text
    assert copy(cache) == 1
    assert later.waiting == []
    now[0] += RETRY_AFTER_S
    assert copy(cache) == 1
    later.run()
    assert copy(cache) == 2


def test_an_incomplete_refresh_keeps_the_current_copy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A store that gives nulls for a moment must not empty the cache until the next refresh."""
    copies = [
        encoded(itemids, [0] * len(itemids))
        for itemids in ([1, 2, 3], [2], [], [1, 2, 3, 4])
    ]
    later, now = Later(), [0.0]
    cache = ItemCache(source(*copies), TTL_S, later, lambda: now[0])
    now[0] = TTL_S
    for expected in ([1, 2, 3], [1, 2, 3], [1, 2, 3, 4]):
        cache.current()
        later.run()
        assert cache.current().item_numbers.tolist() == expected
        now[0] += RETRY_AFTER_S
    assert "2 of 3 items have lost their features" in caplog.text
    assert "3 of 3 items have lost their features" in caplog.text


def test_items_are_fetched_in_chunks() -> None:
    world = SourceWorld()
    store = FakeFeatures(world)
    ids = [*world.itemids, *range(100_000, 100_000 + CHUNK)]
    items = fetch_items(store, world.spec, world.release, ids)
    assert len(store.calls) == 2
    assert max(len(query.ids) for query in store.calls) <= CHUNK
    assert items.item_numbers.tolist() == sorted(world.item_features)


def test_items_with_many_features_use_smaller_calls() -> None:
    world, store = SourceWorld(), FakeFeatures(SourceWorld())
    wide = world.spec.model_copy(
        update={
            "multi_hot": tuple(
                FlagFeature(name=f"flag_{n}", entity="item") for n in range(300)
            )
        }
    )
    nobody = fetch_items(store, wide, world.release, range(200_000, 200_090))
    assert [len(query.ids) for query in store.calls] == [VALUES // 300] * 3
    assert len(nobody.item_numbers) == 0
