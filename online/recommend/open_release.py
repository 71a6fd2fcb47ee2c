"""What a server holds in memory of a release, and how that is read from the services."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_exchange_center.channels import ChannelSet
from data_exchange_center.dataset import IdKind
from data_exchange_center.errors import RecsysError
from data_exchange_center.features import Encoded, FeatureSpec
from data_exchange_center.fusion import Hits
from data_exchange_center.own_ids import OwnId
from data_exchange_center.release import Manifest
from online.clients.elastic import CatalogueItem, ElasticItems
from online.clients.redis import RedisUsers, StoredUser
from online.recommend.diversity import SimilarItems
from online.recommend.exact_search import ExactItems
from online.recommend.item_cache import FeatureStore, ItemCache, fetch_items
from online.recommend.title_search import TitleSearch


class NoReleaseError(RecsysError):
    """Nothing can be served: no release was ever put live, or the live one cannot be opened."""


@dataclass(frozen=True, eq=False)
class OpenRelease:
    """A release that is ready to answer requests."""

    manifest: Manifest
    channels: ChannelSet
    model: str  # the ranking model, in Triton
    model_version: int
    catalogue: dict[int, CatalogueItem]  # by number
    popular: Hits  # best first
    items: ItemCache
    exact: ExactItems

    @cached_property
    def titles(self) -> TitleSearch:
        """Popular items first."""
        ordered = dict.fromkeys([*self.popular.ids.tolist(), *self.catalogue])
        return TitleSearch.of((itemid, self.catalogue[itemid].title) for itemid in ordered)

    @cached_property
    def similar(self) -> SimilarItems:
        """Made when the first request wants it, in some ten milliseconds for four thousand items."""
        return SimilarItems.of(self.exact, self.popular, len(self.spec.genres))

    @property
    def release(self) -> str:
        return self.manifest.release

    @property
    def spec(self) -> FeatureSpec:
        return self.manifest.feature_spec

    @cached_property
    def numbers(self) -> dict[OwnId, int]:
        """Own id of an item -> number."""
        return {item.own_id: number for number, item in self.catalogue.items()}

    def current(self, user: StoredUser, before: int | None) -> StoredUser:
        """A user as a request sees it: `StoredUser.current`."""
        return user.current(self.manifest.dataset, self.numbers, before)

    @property
    def unknown_user(self) -> Encoded:
        """The features of somebody of whom nothing is known."""
        return Encoded.none(self.spec.of("user"), 1)

    @property
    def user_ids(self) -> IdKind:
        return self.manifest.dataset.user_ids


@dataclass(frozen=True)
class ReleaseReader:
    """Opens releases.

    Manifest, channels and popular list come from Redis, catalogue and vectors from Elasticsearch, items from Feast.
    """

    users: RedisUsers
    items: ElasticItems
    features: FeatureStore
    background: Executor  # refreshes the items' features
    ttl_s: float  # how old those may be
    exact_items: int  # how many can be searched without Elasticsearch: the most popular

    def read(self, release: str) -> OpenRelease:
        """Raises NoReleaseError, ServiceError."""
        published = self.users.published(release)
        if published is None:
            raise NoReleaseError(
                f"Release {release} is named as live, but its manifest is missing from Redis",
                "Run offline_to_online/release/s1_go_live.py again.",
            )
        spec = published.manifest.feature_spec
        catalogue = self.items.catalogue(release)
        popular = [(itemid, score) for itemid, score in self.users.popular(release) if itemid in catalogue]
        itemids = list(catalogue)
        ordered = list(dict.fromkeys([itemid for itemid, _ in popular] + itemids))
        dims = published.manifest.vector_dims
        return OpenRelease(
            manifest=published.manifest,
            channels=self.users.channels(release),
            model=published.triton_model,
            model_version=published.triton_version,
            catalogue=catalogue,
            popular=Hits(
                ids=np.array([itemid for itemid, _ in popular], np.int64),
                scores=np.array([score for _, score in popular], np.float32),
            ),
            items=ItemCache(lambda: fetch_items(self.features, spec, release, itemids), self.ttl_s, self.background),
            exact=ExactItems.of(self.items.indexed(release, ordered[: self.exact_items], list(dims)), dims),
        )
