"""A loaded release: what a process holds of one in memory."""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import ChannelSet
from data_exchange_center.dataset import IdKind, OwnId
from data_exchange_center.exact import ExactItems
from data_exchange_center.features import FeatureSpec
from data_exchange_center.fusion import Hits
from data_exchange_center.manifest import Manifest
from data_exchange_center.settings import ServerSettings
from online.clients.elastic import CatalogueItem, ElasticItems
from online.clients.feast import FeatureStore, ItemCache, fetch_items
from online.clients.redis import RedisUsers
from online.recommend.outcomes import NoReleaseError


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
        others = np.setdiff1d(
            np.array(list(self.catalogue), np.int64), self.popular.ids
        )
        scores = np.concatenate(
            [self.popular.scores, np.zeros(len(others), np.float32)]
        )
        return Hits(np.concatenate([self.popular.ids, others]), scores)

    def known(self, own_ids: Iterable[OwnId]) -> NDArray[np.int64]:
        """Numbers of items, of those that the release knows."""
        return np.array(
            [self.numbers[own] for own in own_ids if own in self.numbers], np.int64
        )

    @cached_property
    def user_ids(self) -> IdKind:
        return self.manifest.dataset.user_ids


def load_release(
    users: RedisUsers,
    items: ElasticItems,
    features: FeatureStore,
    server: ServerSettings,
    background: Executor,
    release: str,
) -> Release:
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
    popular = {
        itemid: score for itemid, score in users.popular(release) if itemid in catalogue
    }
    exact = list(popular | dict.fromkeys(catalogue))[
        : server.exact_items
    ]  # the most popular
    fetch = partial(fetch_items, features, spec, release, list(catalogue))
    return Release(
        manifest=published.manifest,
        channels=users.channels(release),
        model=published.triton_model,
        model_version=published.triton_version,
        catalogue=catalogue,
        popular=Hits(
            np.array(list(popular), np.int64),
            np.array(list(popular.values()), np.float32),
        ),
        items=ItemCache(fetch, server.item_cache_ttl_s, background),
        exact=ExactItems.of(items.indexed(release, exact, list(dims)), dims),
    )
