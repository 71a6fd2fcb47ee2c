"""Small worlds that fakes hold in memory and that real services can be loaded with: one release each, whole.

`SourceWorld` is of the source recipe's kind: one stored vector a user, genres in the search, statistics for the
ranker. `DefaultWorld` is of the default's: two channels whose vectors are made of the history, and a ranker that sees
what recall says of a candidate, and the history. `ShopWorld` is that with ids that are strings, and without attributes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.candidates import StoredUser
from data_exchange_center.channels import ChannelSet, Float32
from data_exchange_center.dataset import MAX_BYTES, IdKind, OwnId
from data_exchange_center.event_types import TypeRules, in_order
from data_exchange_center.features import (
    HISTORY,
    DenseFeature,
    FeatureSpec,
    HistoryFeature,
    ModelInputs,
    one_hot,
)
from data_exchange_center.fusion import Fused, Hits, candidate_columns, fuse
from data_exchange_center.history import History
from data_exchange_center.manifest import FORMAT, Manifest, Published
from data_exchange_center.recipes import DEFAULT, SOURCE, Recipe, VectorRecipe
from offline.data.pairs import rated_pairs_spec
from offline.data.terms import CLICKS, HAS, IMPRESSIONS, columns_of
from online.clients.elastic import CatalogueItem
from tests.channels import random_channel
from tests.datasets import STARS

GENRES = ("Action", "Adventure", "Comedy", "Drama")
N_ITEMS = 420
N_USERS = 12
NO_VECTOR_ITEM = 7  # in the catalogue, never trained
NO_FEATURES_ITEM = 9  # in the index, not in the feature store
LONG_HISTORY_USER = 2
NO_TERMS_USER = 3
NO_VECTOR_USER = 4  # none is stored
BLANK_USER = 5  # neither genres nor a stored vector, and an empty history
NO_FEATURES_USER = 6  # in Redis, not in the feature store
UNKNOWN_USER = 99_999
LAST_EVENT = 1_000_000_000  # seconds, of every user
AT = LAST_EVENT + 600  # a request in the same session
LATER = LAST_EVENT + 86_400  # and one after it


ItemVectors = dict[str, dict[int, Float32]]  # channel -> itemid -> vector
UserVectors = dict[int, dict[str, Float32]]  # userid -> channel -> vector
Features = dict[int, dict[str, Any]]  # id -> raw values, without the id itself
Codes = dict[int, tuple[int, ...]]  # id -> codes of genres, ascending


@dataclass(frozen=True)
class World:
    release: str = "aaaaaaaaaaaa"
    model: str = wire.MODEL
    name: str = STARS.name  # of the data set
    model_version: int = 1
    seed: int = 0

    # A subclass has besides: recipe, spec, channels, user_features, item_features,
    # item_vectors of the items that compete, stored_vectors of the users

    itemids: ClassVar = [3 * n + 1 for n in range(N_ITEMS)] + [NO_FEATURES_ITEM + 3000]
    no_features_item: ClassVar = itemids[-1]
    trained: ClassVar = [n for n in itemids if n != NO_VECTOR_ITEM]
    userids: ClassVar = [*range(1, N_USERS + 1)]
    ids: ClassVar[IdKind] = "integer"  # of the users' and items' own ids

    def own_user(self, userid: int) -> OwnId:
        return userid

    def own_item(self, itemid: int) -> OwnId:
        return itemid

    @cached_property
    def numbers(self) -> dict[OwnId, int]:
        """Users' own ids -> numbers."""
        return {self.own_user(userid): userid for userid in self.userids}

    @cached_property
    def item_numbers(self) -> dict[OwnId, int]:
        return {self.own_item(itemid): itemid for itemid in self.itemids}

    def attributes(self, itemid: int) -> dict[str, Any]:
        return {"genres": [self.spec.genres[code - 1] for code in self.genres[itemid]]}

    def shown(self, itemid: int) -> CatalogueItem:
        return CatalogueItem(
            self.own_item(itemid),
            self.titles[itemid],
            self.attributes(itemid),
            self.genres[itemid],
        )

    @cached_property
    def titles(self) -> dict[int, str]:
        return {itemid: f"Film [{itemid}] é (1999)" for itemid in self.itemids}

    @cached_property
    def genres(self) -> Codes:
        return {
            itemid: tuple(
                sorted({1 + itemid % len(GENRES), 1 + (itemid // 5) % len(GENRES)})
            )
            for itemid in self.itemids
        }

    @cached_property
    def user_terms(self) -> Codes:
        blank = (NO_TERMS_USER, BLANK_USER)
        return {
            userid: () if userid in blank else (1 + userid % len(GENRES), 4)
            for userid in self.userids
        }

    @cached_property
    def seen(self) -> dict[int, list[int]]:
        rng = np.random.default_rng(self.seed + 3)
        chosen = {
            userid: rng.choice(self.itemids[:-1], 19, replace=False).tolist()
            for userid in self.userids
        }
        chosen[LONG_HISTORY_USER] = self.itemids[:300]
        return {
            userid: sorted([*seen, self.no_features_item])
            for userid, seen in chosen.items()
        }

    @cached_property
    def histories(self) -> dict[int, History]:
        """The seen items, in an order of their own, an hour apart."""
        rng = np.random.default_rng(self.seed + 5)
        histories = {}
        for userid in self.userids:
            itemids = rng.permutation(self.seen[userid])[
                : 0 if userid == BLANK_USER else None
            ]
            times = LAST_EVENT - 3600 * np.arange(len(itemids))
            histories[userid] = History(
                itemids.astype(np.int64), rng.integers(1, 6, len(itemids)), times
            )
        return histories

    def profile(self, userid: int) -> NDArray[np.int32]:
        """Codes of gender, age and occupation; the last is unknown of some."""
        return np.array([1 + userid % 2, 1 + userid % 2, userid % 3], np.int32)

    def stored(self, userid: int) -> StoredUser:
        return StoredUser(
            number=userid,
            terms=self.user_terms[userid],
            seen=np.array(self.seen[userid], np.int32),
            profile=self.profile(userid),
            history=self.histories[userid],
            vectors=self.stored_vectors[userid],
        )

    @cached_property
    def popular(self) -> list[tuple[int, float]]:
        return [
            (itemid, round(1 - n / 1000, 3))
            for n, itemid in enumerate(sorted(self.itemids, key=lambda i: i % 97))
        ]

    @property
    def dataset(self) -> str:
        """Under whose name events are kept."""
        return self.published.manifest.dataset.base_name

    @cached_property
    def weights(self) -> Float32:
        """Weights of the linear model that scores: of a row's columns, then of the channels of each event."""
        sizes = {
            "userid": 100,
            "itemid": 100,
            "item": 100,
            "age": 1e6,
        }  # ids and ages are large numbers
        columns = [*self.spec.columns, *HISTORY * self.spec.sizes.events]
        weights = np.random.default_rng(self.seed + 4).normal(size=len(columns)) * 0.3
        return np.array(
            weights / [sizes.get(column, 1) for column in columns], np.float32
        )

    @cached_property
    def vector_dims(self) -> dict[str, int]:
        return {
            name: len(next(iter(vectors.values())))
            for name, vectors in self.item_vectors.items()
        }

    @cached_property
    def published(self) -> Published:
        dataset = STARS.model_copy(
            update={"name": self.name, "user_ids": self.ids, "item_ids": self.ids}
        )
        manifest = Manifest(
            format=FORMAT,
            release=self.release,
            recipe=self.recipe,
            dataset=dataset,
            feature_spec=self.spec,
            vector_dims=self.vector_dims,
            model={"auc": {}},
            parts=(),
        )
        return Published(
            manifest=manifest,
            triton_model=self.model,
            triton_version=self.model_version,
        )

    def user_vectors(self, userid: int, timestamp: int = AT) -> dict[str, Float32]:
        """Query of each channel."""
        made = self.channels.query_vectors(
            self.histories[userid], self.profile(userid), timestamp
        )
        return {**made, **self.stored_vectors[userid]}

    def search(
        self,
        channel: VectorRecipe,
        vector: Float32 | None,
        terms: Sequence[int],
        seen: Sequence[int] | NDArray[np.int32],
        size: int,
    ) -> Hits:
        """The unseen items that a channel should find, best first: scores as Elasticsearch's, or inner products."""
        unseen = np.setdiff1d(self.itemids, np.asarray(seen, np.int64))
        vectors = self.item_vectors[channel.name]
        scores = np.full(len(unseen), np.nan)
        if vector is not None and len(unseen):
            # All at once, as the server does: one at a time rounds otherwise, and near ties timed.
            untrained = np.full(len(vector), np.nan, np.float32)
            rows = [vectors.get(itemid, untrained) for itemid in unseen.tolist()]
            scores = (np.stack(rows) @ vector).astype(np.float64)
        if terms and channel.term_weight > 0:
            wanted = set(terms)
            alike = np.array(
                [not wanted.isdisjoint(self.genres[item]) for item in unseen.tolist()],
                np.bool_,
            )
            near = np.where(scores >= 0, scores + 1, 1 / (1 - np.minimum(scores, 0)))
            found = alike | ~np.isnan(scores)
            scores = channel.term_weight * alike + np.nan_to_num(
                channel.vector_weight * near
            )
            scores[~found] = np.nan
        order = np.argsort(-scores, kind="stable")  # NaN comes last
        best = order[~np.isnan(scores[order])][:size]
        return Hits(unseen[best], scores[best])

    def recalled(self, userid: int, timestamp: int = AT) -> Fused:
        """The candidates that the server should find."""
        recall, vectors = self.recipe.recall, self.user_vectors(userid, timestamp)
        terms, seen = self.user_terms[userid], self.seen[userid]
        hits = [
            self.search(each, vectors.get(each.name), terms, seen, recall.candidates)
            for each in recall.vector_channels
        ]
        weights = [each.fusion_weight for each in recall.channels]
        return fuse(hits, weights, recall.candidates)

    def scores(self, inputs: ModelInputs) -> Float32:
        width = self.spec.width
        sums = inputs.rows.astype(np.float64) @ self.weights[:width]
        if inputs.history is not None:
            sums += inputs.history[0].astype(np.float64).ravel() @ self.weights[width:]
        return (1 / (1 + np.exp(-sums))).astype(np.float32)

    def expected_scores(
        self, userid: int, itemids: list[int], timestamp: int = AT
    ) -> Float32:
        """Scores of a user's items, straight from the raw values and from an exact search."""
        spec = self.spec
        user = {**self.user_features[userid], "userid": userid}
        raw = [self.item_features[itemid] | {"itemid": itemid} for itemid in itemids]
        items = {name: [row[name] for row in raw] for name in raw[0]}
        candidates = np.empty((len(itemids), 0), np.float32)
        if spec.candidate:
            fused = self.recalled(userid, timestamp)
            rows = [fused.ids.tolist().index(itemid) for itemid in itemids]
            columns = candidate_columns(list(self.item_vectors))
            candidates = spec.encode_candidates(columns, fused.features[rows])
        rows = spec.assemble(
            spec.encode("user", {name: [value] for name, value in user.items()}),
            spec.encode("item", items),
            timestamp,
            candidates,
        )
        history = spec.encode_history(self.histories[userid], timestamp)
        return self.scores(ModelInputs(rows, history))


@dataclass(frozen=True)
class SourceWorld(World):
    """One channel with a stored vector a user; genres earn something in its search."""

    recipe: ClassVar = SOURCE

    @cached_property
    def spec(self) -> FeatureSpec:
        return rated_pairs_spec(
            users=self.userids,
            items=self.itemids,
            genres=GENRES,
            window=10,
            profile={
                "gender": ["F", "M"],
                "age": [18, 25],
                "occupation": ["artist", "none"],
            },
        )

    @cached_property
    def channels(self) -> ChannelSet:
        return ChannelSet(np.empty(0, np.int64), ())

    @cached_property
    def item_vectors(self) -> ItemVectors:
        rng = np.random.default_rng(self.seed + 1)
        return {
            "fm": {
                itemid: rng.normal(size=4).astype(np.float32) for itemid in self.trained
            }
        }

    @cached_property
    def stored_vectors(self) -> UserVectors:
        rng = np.random.default_rng(self.seed + 2)
        vectors = {
            userid: rng.normal(size=4).astype(np.float32) for userid in self.userids
        }
        unknown = (NO_VECTOR_USER, BLANK_USER)
        return {
            userid: {} if userid in unknown else {"fm": vector}
            for userid, vector in vectors.items()
        }

    @cached_property
    def user_features(self) -> Features:
        shown, clicked = columns_of(GENRES, IMPRESSIONS), columns_of(GENRES, CLICKS)
        return {
            userid: {
                "gender": "FM"[userid % 2],
                "age": (18, 25)[userid % 2],
                "occupation": "artist",
                **{name: (userid + n) % 5 for n, name in enumerate(shown)},
                **{name: (userid + n) % 3 for n, name in enumerate(clicked)},
            }
            for userid in self.userids
            if userid != NO_FEATURES_USER
        }

    @cached_property
    def item_features(self) -> Features:
        return {
            itemid: {
                flag: int(code in self.genres[itemid])
                for code, flag in enumerate(columns_of(GENRES, HAS), 1)
            }
            for itemid in self.itemids
            if itemid != self.no_features_item
        }


@dataclass(frozen=True)
class DefaultWorld(World):
    """Two channels, of different widths, whose vectors are made of the history; no vector is stored."""

    release: str = "dddddddddddd"

    recipe: ClassVar[Recipe] = DEFAULT

    @cached_property
    def spec(self) -> FeatureSpec:
        return FeatureSpec(
            one_hot=(
                one_hot("itemid", "item", self.itemids),
                one_hot("gender", "user", ["F", "M"]),
                one_hot("age", "user", [18, 25]),
            ),
            multi_hot=(),
            dense=(
                DenseFeature(
                    name="n_ratings", entity="user", scale=5, transform="log1p"
                ),
                DenseFeature(
                    name="item_ratings", entity="item", scale=5, transform="log1p"
                ),
                DenseFeature(name="item_year", entity="item", scale=100),
            ),
            genres=GENRES,
            candidate=candidate_columns(
                [channel.name for channel in self.recipe.recall.channels]
            ),
            history=HistoryFeature(length=5),
        )

    @cached_property
    def channels(self) -> ChannelSet:
        rng, lags = np.random.default_rng(self.seed), self.recipe.data.history
        numbers = np.sort(self.itemids)
        trained = np.r_[False, numbers != NO_VECTOR_ITEM]
        wide = random_channel("tower", rng, trained, 4, lags, profile=(3, 3, 3))
        narrow = random_channel("ease", rng, trained, 3, lags, fields=1)
        return ChannelSet(numbers, (wide, narrow))

    @cached_property
    def item_vectors(self) -> ItemVectors:
        return {
            channel.name: {
                itemid: vector
                for itemid, vector in zip(
                    sorted(self.itemids), channel.item_vectors()[1:], strict=True
                )
                if itemid != NO_VECTOR_ITEM
            }
            for channel in self.channels.channels
        }

    @cached_property
    def stored_vectors(self) -> UserVectors:
        return {userid: {} for userid in self.userids}

    @cached_property
    def user_features(self) -> Features:
        return {
            userid: {
                "gender": "FM"[userid % 2],
                "age": (18, 25)[userid % 2],
                "n_ratings": len(self.seen[userid]),
            }
            for userid in self.userids
            if userid != NO_FEATURES_USER
        }

    @cached_property
    def item_features(self) -> Features:
        return {
            itemid: {"item_ratings": itemid % 50, "item_year": 1920 + itemid % 80}
            for itemid in self.itemids
            if itemid != self.no_features_item
        }


STRANGE_IDS = (
    "u-8f3a",
    "a/b c",
    "ünï🎬",
    "7",
    " x ",
    "new\nline",
    "*?[a]",
    "nul\0",
    '"quoted"',
    "x" * MAX_BYTES,
)


@dataclass(frozen=True)
class ShopWorld(DefaultWorld):
    """Ids are strings; items have neither title nor attribute, so nobody prefers any."""

    release: str = "555555555555"

    ids: ClassVar[IdKind] = "string"

    def own_user(self, userid: int) -> OwnId:
        return STRANGE_IDS[userid - 1] if userid <= len(STRANGE_IDS) else f"u-{userid}"

    def own_item(self, itemid: int) -> OwnId:
        return f"sku/{itemid} é"

    @cached_property
    def spec(self) -> FeatureSpec:
        return super().spec.model_copy(update={"genres": ()})

    @cached_property
    def titles(self) -> dict[int, str]:
        return {itemid: str(self.own_item(itemid)) for itemid in self.itemids}

    @cached_property
    def genres(self) -> Codes:
        return dict.fromkeys(self.itemids, ())

    def attributes(self, itemid: int) -> dict[str, Any]:
        return {}

    @cached_property
    def user_terms(self) -> Codes:
        return dict.fromkeys(self.userids, ())


class TypedWorld(DefaultWorld):
    """Events are views, carts, purchases, returns."""

    release: str = "777777777777"

    @cached_property
    def published(self) -> Published:
        published = super().published
        rules = {
            "view": TypeRules(weight=0.1),
            "return": TypeRules(negative=True),
            "shown": TypeRules(history=False),
            "cart": TypeRules(weight=0.3, target=True),
            "buy": TypeRules(target=True, has=True),
        }
        typed = {"types": in_order(rules), "levels": (1.0, 2.0, 3.0, 4.0, 5.0)}
        dataset = published.manifest.dataset.model_copy(update=typed)
        manifest = published.manifest.model_copy(update={"dataset": dataset})
        return published.model_copy(update={"manifest": manifest})


KINDS: tuple[type[World], ...] = (SourceWorld, DefaultWorld)
ALL_KINDS: tuple[type[World], ...] = (*KINDS, ShopWorld)
