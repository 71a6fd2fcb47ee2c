from collections.abc import Callable

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


def source(*copies: EncodedItems | Exception) -> Callable[[], EncodedItems]:
    """One after the other is fetched, or raised."""
    left = list(copies)

    def fetch() -> EncodedItems:
        each = left.pop(0)
        if isinstance(each, Exception):
            raise each
        return each

    return fetch


ALL = encoded([1, 2, 3], [1, 1, 1])
MORE = encoded([1, 2, 3, 4], [2, 2, 2, 2])


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (ServiceError("feast", "cannot be reached"), "could not be refreshed"),
        (RuntimeError("no one expected this"), "could not be refreshed"),
        (encoded([2], [0]), "2 items have lost their features"),
        (encoded([], []), "3 items have lost their features"),
    ],
)
def test_a_copy_is_kept_until_a_whole_one_is_fetched(
    fails: EncodedItems | Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    cache = ItemCache(source(ALL, fails, MORE), TTL_S, lambda: now[0])
    before = cache.fetched_at
    for seconds, expected in (
        (TTL_S - 0.001, ALL),
        (TTL_S, ALL),  # stale, and the fetch fails
        (TTL_S + RETRY_AFTER_S - 0.001, ALL),
        (TTL_S + RETRY_AFTER_S, MORE),
        (2 * TTL_S + RETRY_AFTER_S - 0.001, MORE),
    ):
        now[0] = seconds
        cache.refresh()
        assert cache.held is expected
    assert said in caplog.text
    assert cache.fetched_at > before


@pytest.mark.parametrize(("flags", "size"), [(4, CHUNK), (300, VALUES // 300)])
def test_items_are_fetched_in_calls_of_so_many_values(flags: int, size: int) -> None:
    world = SourceWorld()
    store = FakeFeatures(world)
    more = [FlagFeature(name=f"flag_{n}", entity="item") for n in range(4, flags)]
    features = (*world.spec.of("item")[-4:], *more)
    spec = world.spec.model_copy(update={"multi_hot": features})
    fetch_items(
        store, spec, world.release, [*world.itemids, *range(10**5, 10**5 + size)]
    )
    sizes = [len(query.ids) for query in store.calls]
    assert sizes[:-1] == [size] * (len(sizes) - 1)
