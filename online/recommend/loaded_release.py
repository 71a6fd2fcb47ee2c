"""A loaded release: what a process holds of one in memory.

Item features are cached, encoded but for what depends on a request's time: Feast needs 33 ms for those of 200 items,
more than all the rest of a request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.candidates import ExactItems, StoredUser
from data_exchange_center.channels import ChannelSet
from data_exchange_center.dataset import IdKind, OwnId
from data_exchange_center.features import Encoded, FeatureSpec
from data_exchange_center.fusion import Hits, Vocabulary
from data_exchange_center.manifest import Manifest
from data_exchange_center.settings import ServerSettings
from online.clients.base import Client
from online.clients.elastic import CatalogueItem, ElasticItems
from online.clients.feast import FeatureQuery, FeatureRows
from online.clients.redis import RedisUsers
from online.recommend.types import NoReleaseError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0  # pause after a release, or its items' features, could not be loaded
CHUNK = 500  # items per call at most; with the source's 18 features they take about 0.1 s, well within the timeout
VALUES = 18 * CHUNK  # features times items per call

FeatureStore = Client[FeatureQuery, FeatureRows]


@dataclass(frozen=True, eq=False)
class Release:
    """A release that is ready to answer requests."""

    manifest: Manifest
    channels: ChannelSet
    model: str  # the ranking model, in Triton
    model_version: int
    catalogue: dict[int, CatalogueItem]  # by number
    popular: Hits  # best first
    items: ItemCache
    exact: ExactItems  # searched while Elasticsearch is away

    @cached_property
    def release(self) -> str:
        return self.manifest.release

    @cached_property
    def spec(self) -> FeatureSpec:
        return self.manifest.feature_spec

    @cached_property
    def dataset(self) -> str:
        """`Dataset.base_name`: whose users and events these are."""
        return self.manifest.dataset.base_name

    @cached_property
    def numbers(self) -> dict[OwnId, int]:
        """Own id of an item -> number."""
        return {item.own_id: number for number, item in self.catalogue.items()}

    @cached_property
    def by_popularity(self) -> Hits:
        """All items of the catalogue: the popular list, then the others by number, with score 0."""
        others = np.setdiff1d(np.array(list(self.catalogue), np.int64), self.popular.ids)
        scores = np.concatenate([self.popular.scores, np.zeros(len(others), np.float32)])
        return Hits(np.concatenate([self.popular.ids, others]), scores)

    def known(self, own_ids: Iterable[OwnId]) -> NDArray[np.int64]:
        """Numbers of items, of those that the release knows."""
        return np.array([self.numbers[own] for own in own_ids if own in self.numbers], np.int64)

    def current(self, user: StoredUser, before: int | None) -> StoredUser:
        """A user as a request sees it: `StoredUser.current`."""
        return user.current(self.manifest.dataset, self.numbers, before)

    @cached_property
    def user_ids(self) -> IdKind:
        return self.manifest.dataset.user_ids


def load_release(
    users: RedisUsers, items: ElasticItems, features: FeatureStore, server: ServerSettings, background: Executor,
    release: str,
) -> Release:  # fmt: skip
    """Load a release: manifest and popular list from Redis, the catalogue from Elasticsearch, items from Feast.

    ``background``: where the items' features are refreshed. Raises NoReleaseError, ServiceError.
    """
    published = users.published(release)
    if published is None:
        raise NoReleaseError(
            f"Release {release} has no manifest in Redis",
            "Run offline_to_online/release/s1_go_live.py again.",
        )
    spec, dims = published.manifest.feature_spec, published.manifest.vector_dims
    catalogue = items.catalogue(release)
    popular = {itemid: score for itemid, score in users.popular(release) if itemid in catalogue}
    exact = list(popular | dict.fromkeys(catalogue))[: server.exact_items]  # the most popular
    fetch = partial(fetch_items, features, spec, release, list(catalogue))
    return Release(
        manifest=published.manifest,
        channels=users.channels(release),
        model=published.triton_model,
        model_version=published.triton_version,
        catalogue=catalogue,
        popular=Hits(np.array(list(popular), np.int64), np.array(list(popular.values()), np.float32)),
        items=ItemCache(fetch, server.item_cache_ttl_s, background),
        exact=ExactItems.of(items.indexed(release, exact, list(dims)), dims),
    )


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """The features of all items that have every feature."""

    itemids: NDArray[np.int32]  # (n,) ascending
    rows: Encoded  # (n,)

    def find(self, wanted: NDArray[np.integer]) -> tuple[NDArray[np.bool_], Encoded]:
        """Mask of ``wanted`` (m,) that are here, and the rows of those, in the order wanted."""
        codes = Vocabulary(self.itemids).codes(wanted)
        known = codes > 0
        return known, self.rows[codes[known] - 1]


def fetch_items(store: FeatureStore, spec: FeatureSpec, release: str, itemids: Sequence[int]) -> EncodedItems:
    """Fetch and encode items' features, at most `CHUNK` items and `VALUES` values per call. Raises ServiceError."""
    found: list[int] = []
    parts = [Encoded.none(spec.of("item"))]
    ordered = sorted(itemids)
    size = min(CHUNK, max(1, VALUES // max(1, len(spec.stored("item")))))
    for start in range(0, len(ordered), size):
        rows = store.call(FeatureQuery("item", release, ordered[start : start + size]))
        if rows.ids:
            found.extend(rows.ids)
            parts.append(spec.encode_items(rows.columns))
    if missing := len(ordered) - len(found):
        log.warning("release %s: %d of %d items have no features and cannot be ranked", release, missing, len(ordered))
    return EncodedItems(np.array(found, np.int32), Encoded.joined(parts))


class ItemCache:
    """Encoded items, fetched again when older than ``ttl_s``; the stale copy serves until the new one is there."""

    def __init__(
        self, fetch: Callable[[], EncodedItems], ttl_s: float, background: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Fetches at once. Raises what ``fetch`` raises."""
        self._fetch, self._ttl_s, self._background, self._clock = fetch, ttl_s, background, clock
        self._refreshing = threading.Lock()
        self._items = fetch()
        self.fetched_at = time.time()  # Unix seconds, of the copy at hand
        self._stale_at = clock() + ttl_s

    def current(self) -> EncodedItems:
        """The copy at hand; a refresh is started when it is stale."""
        if self._clock() >= self._stale_at and self._refreshing.acquire(blocking=False):
            self._background.submit(self._refresh)
        return self._items

    def _refresh(self) -> None:
        wait_s = RETRY_AFTER_S
        try:
            fresh, held = self._fetch(), self._items
            lost = int((~np.isin(held.itemids, fresh.itemids)).sum())
            if lost:  # a release never loses items, so the store is at fault
                log.warning("%d of %d items have lost their features, which are kept", lost, len(held.itemids))
            else:
                self._items, self.fetched_at, wait_s = fresh, time.time(), self._ttl_s
        except Exception:
            log.exception("item features could not be refreshed, the ones at hand serve on")
        finally:
            self._stale_at = self._clock() + wait_s
            self._refreshing.release()
