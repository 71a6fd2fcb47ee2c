"""A loaded release: what a process holds of one in memory, and how it is read from the services."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from data_exchange_center import wire
from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.channel_file import unpack_channels
from data_exchange_center.channels import ChannelSet
from data_exchange_center.dataset import IdKind, OwnId
from data_exchange_center.exact import ExactItems, IndexedItem
from data_exchange_center.features import FeatureSpec
from data_exchange_center.filling import fill_up
from data_exchange_center.fusion import Hits
from data_exchange_center.manifest import Manifest, Published, why_unreadable
from online.clients.base import StoredError
from online.clients.elastic import CatalogueItem, ElasticItems
from online.clients.feast import FeatureStore
from online.clients.redis import RedisUsers
from online.recommend.item_cache import ITEM_TTL_S, ItemCache, fetch_items
from online.recommend.outcomes import NoReleaseError

Stored = TypeVar("Stored")
_POPULAR: Final = TypeAdapter(list[tuple[int, float]])  # (item number, score)
# most popular ones, which are searched when Elasticsearch does not answer
EXACT_ITEMS: Final = 20_000
_PAGE: Final = 2000  # documents per request when the catalogue is read
_VECTORS: Final = 500  # documents per request when their vectors are read, too
_SHOWN: Final = (
    wire.ITEM_NUMBER,
    wire.ITEM_OWN_ID,
    wire.ITEM_TITLE,
    wire.ITEM_ATTRIBUTES,
    wire.ITEM_GENRES,
)


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
    def weights(self) -> tuple[float, ...]:
        """Of the ranking model's outputs: the score is their weighted mean."""
        return tuple(self.manifest.objectives.values()) or (1.0,)

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


def with_popular(
    release: Release, user: StoredUser, found: Candidates | None = None
) -> Candidates:
    """Candidates, filled up by popular unseen items that can be ranked; ``found``: None: the channels found nothing."""
    popular = release.by_popularity.ids
    rankable = popular[np.isin(popular, release.items.held.item_numbers)]
    return fill_up(release.manifest.recipe.recall, found, rankable, user)


def load_release(
    users: RedisUsers,
    items: ElasticItems,
    features: FeatureStore,
    release: str,
) -> Release:
    """Load a release: manifest and popular list from Redis, the catalogue from Elasticsearch, items from Feast.

    Raises NoReleaseError, ServiceError.
    """
    published = read_published(users, release)
    if published is None:
        raise NoReleaseError(
            f"Release {release} has no manifest in Redis",
            "Run offline_to_online/release/s1_go_live.py again.",
        )
    spec = published.manifest.feature_spec
    channels = read_channels(users, release)
    catalogue = read_catalogue(items, release)
    popular = {
        number: score
        for number, score in read_popular(users, release)
        if number in catalogue
    }
    by_popularity = list(popular | dict.fromkeys(catalogue))
    searched = by_popularity[:EXACT_ITEMS]
    fetch = partial(fetch_items, features, spec, release, list(catalogue))
    return Release(
        manifest=published.manifest,
        channels=channels,
        model=published.triton_model,
        model_version=published.triton_version,
        catalogue=catalogue,
        popular=Hits(
            np.array(list(popular), np.int64),
            np.array(list(popular.values()), np.float32),
        ),
        items=ItemCache(fetch, ITEM_TTL_S),
        exact=exact_items(
            items, published.manifest, channels, {n: catalogue[n] for n in searched}
        ),
    )


def read_published(users: RedisUsers, release: str) -> Published | None:
    """Read a release's manifest; None when it is not published. Raises ServiceError."""
    key = wire.manifest_key(release)
    return _read(users, "a manifest", release, key, Published.model_validate_json)


def read_channels(users: RedisUsers, release: str) -> ChannelSet:
    """Read a release's recall channels, which compute user vectors from histories. Raises ServiceError."""
    key = wire.channels_key(release)
    channels = _read(users, "recall channels", release, key, unpack_channels)
    if channels is None:
        raise StoredError("redis", f"holds no recall channels of release {release}")
    return channels.without_encoders()


def read_popular(users: RedisUsers, release: str) -> list[tuple[int, float]]:
    """(item number, score), best first; empty when the release has none. Raises ServiceError."""
    key = wire.popular_key(release)
    return _read(users, "a popular list", release, key, _POPULAR.validate_json) or []


def _read(
    users: RedisUsers,
    what: str,
    release: str,
    key: str,
    parse: Callable[[bytes], Stored],
) -> Stored | None:
    """Read a value of a release; None where there is none."""
    raw = users.value(key)
    try:
        return parse(raw) if raw else None
    except (ValueError, TypeError) as error:
        unreadable = f"holds {what} of release {release} that cannot be read"
        if isinstance(error, ValidationError):
            unreadable += f" ({why_unreadable(error)})"
        raise StoredError("redis", unreadable) from error


def read_catalogue(items: ElasticItems, release: str) -> dict[int, CatalogueItem]:
    """Read every item of a release, by its number. Raises ServiceError."""
    catalogue: dict[int, CatalogueItem] = {}
    page = {"size": _PAGE, "sort": [{wire.ITEM_NUMBER: "asc"}]}
    while True:
        found = items.documents(release, _SHOWN, **page)
        for document in found:
            number, own_id, title, shown, terms = (document[each] for each in _SHOWN)
            catalogue[number] = CatalogueItem(own_id, title, shown, tuple(terms))
        if len(found) < _PAGE:
            return catalogue
        page["search_after"] = found[-1]["sort"]


def exact_items(
    items: ElasticItems,
    manifest: Manifest,
    channels: ChannelSet,
    catalogue: Mapping[int, CatalogueItem],
) -> ExactItems:
    """Index the items of a catalogue for an exact search. Raises ServiceError.

    Vectors are those of the channels. Elasticsearch is read for the others: of channels that store the users' vectors.
    """
    computed = {channel.name for channel in channels.channels}
    stored = {
        name: dim for name, dim in manifest.vector_dims.items() if name not in computed
    }
    indexed: Iterable[IndexedItem]
    if stored:
        indexed = read_indexed(items, manifest.release, list(catalogue), list(stored))
    else:
        indexed = (
            IndexedItem(number, item.terms, {}) for number, item in catalogue.items()
        )
    index = ExactItems.of(indexed, stored)
    own = channels.vectors_of(index.item_numbers)
    return replace(index, vectors={**index.vectors, **own})


def read_indexed(
    items: ElasticItems, release: str, numbers: Sequence[int], channels: Sequence[str]
) -> Iterator[IndexedItem]:
    """Read terms and vectors of some items of a release, in no order. Raises ServiceError."""
    fields = {name: wire.vector_of(name) for name in channels}
    wanted = (wire.ITEM_NUMBER, wire.ITEM_GENRES, *fields.values())
    for start in range(0, len(numbers), _VECTORS):
        some = list(numbers[start : start + _VECTORS])
        query = {"terms": {wire.ITEM_NUMBER: some}}
        for document in items.documents(release, wanted, size=len(some), query=query):
            vectors = {
                name: np.array(document[field], np.float32)
                for name, field in fields.items()
                if document.get(field)
            }
            yield IndexedItem(
                document[wire.ITEM_NUMBER],
                tuple(document.get(wire.ITEM_GENRES, ())),
                vectors,
            )
