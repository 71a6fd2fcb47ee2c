"""A small world that fakes hold in memory and that real services can be loaded with: one release, whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.columns import clicks, genre_flag, impressions
from data_exchange_center.features import FeatureSpec, movielens_spec
from data_exchange_center.recipes import SOURCE
from data_exchange_center.release import Manifest, Published

GENRES = ("Action", "Adventure", "Comedy", "Drama")
DIM = 4
N_ITEMS = 420
N_USERS = 12
NO_VECTOR_ITEM = 7  # in the catalogue, never trained
NO_FEATURES_ITEM = 9  # in the index, not in the feature store
LONG_HISTORY_USER = 2
NO_TERMS_USER = 3
NO_VECTOR_USER = 4
BLANK_USER = 5  # neither genres nor vector
NO_FEATURES_USER = 6  # in Redis, not in the feature store
UNKNOWN_USER = 99_999


@dataclass(frozen=True)
class World:
    release: str = "aaaaaaaaaaaa"
    model: str = wire.MODEL
    model_version: int = 1
    seed: int = 0

    @cached_property
    def itemids(self) -> list[int]:
        return [3 * n + 1 for n in range(N_ITEMS)] + [NO_FEATURES_ITEM + 3000]

    @property
    def no_features_item(self) -> int:
        return self.itemids[-1]

    @property
    def no_vector_item(self) -> int:
        return NO_VECTOR_ITEM

    @cached_property
    def userids(self) -> list[int]:
        return list(range(1, N_USERS + 1))

    @cached_property
    def titles(self) -> dict[int, str]:
        return {itemid: f"Film [{itemid}] é (1999)" for itemid in self.itemids}

    @cached_property
    def genres(self) -> dict[int, tuple[int, ...]]:
        """Genre codes of each item, ascending."""
        return {
            itemid: tuple(sorted({1 + itemid % len(GENRES), 1 + (itemid // 5) % len(GENRES)}))
            for itemid in self.itemids
        }

    @cached_property
    def item_vectors(self) -> dict[int, NDArray[np.float32]]:
        rng = np.random.default_rng(self.seed + 1)
        trained = [itemid for itemid in self.itemids if itemid != self.no_vector_item]
        return {itemid: rng.normal(size=DIM).astype(np.float32) for itemid in trained}

    @cached_property
    def user_vectors(self) -> dict[int, NDArray[np.float32]]:
        rng = np.random.default_rng(self.seed + 2)
        known = [userid for userid in self.userids if userid not in (NO_VECTOR_USER, BLANK_USER)]
        return {userid: rng.normal(size=DIM).astype(np.float32) for userid in known}

    @cached_property
    def user_terms(self) -> dict[int, tuple[int, ...]]:
        blank = (NO_TERMS_USER, BLANK_USER)
        return {userid: () if userid in blank else (1 + userid % len(GENRES), 4) for userid in self.userids}

    @cached_property
    def seen(self) -> dict[int, list[int]]:
        rng = np.random.default_rng(self.seed + 3)
        seen = {userid: sorted(rng.choice(self.itemids, 20, replace=False).tolist()) for userid in self.userids}
        seen[LONG_HISTORY_USER] = sorted(self.itemids[:300])
        return seen

    @cached_property
    def popular(self) -> list[tuple[int, float]]:
        return [(itemid, round(1 - n / 1000, 3)) for n, itemid in enumerate(sorted(self.itemids, key=lambda i: i % 97))]

    @cached_property
    def spec(self) -> FeatureSpec:
        return movielens_spec(
            users=self.userids, items=self.itemids, genders=["F", "M"], ages=[18, 25], occupations=["artist", "none"],
            genres=GENRES, window=10,
        )  # fmt: skip

    @cached_property
    def user_features(self) -> dict[int, dict[str, Any]]:
        """Raw values by userid, without the id itself."""
        rows = {}
        for userid in self.userids:
            if userid == NO_FEATURES_USER:
                continue
            row: dict[str, Any] = {"gender": "FM"[userid % 2], "age": (18, 25)[userid % 2], "occupation": "artist"}
            for n, genre in enumerate(GENRES):
                row[impressions(genre)] = (userid + n) % 5
                row[clicks(genre)] = (userid + n) % 3
            rows[userid] = row
        return rows

    @cached_property
    def item_features(self) -> dict[int, dict[str, Any]]:
        return {
            itemid: {genre_flag(genre): int(code in self.genres[itemid]) for code, genre in enumerate(GENRES, 1)}
            for itemid in self.itemids
            if itemid != self.no_features_item
        }

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """Of the linear model that scores: sigmoid(rows @ weights)."""
        weights = np.random.default_rng(self.seed + 4).normal(size=self.spec.width) * 0.3
        weights[:2] *= 0.01  # ids are large numbers
        return weights.astype(np.float32)

    @cached_property
    def published(self) -> Published:
        manifest = Manifest(
            release=self.release, recipe=SOURCE, dataset={"name": "world"}, feature_spec=self.spec, vector_dim=DIM,
            model={"auc": {}}, parts=(),
        )  # fmt: skip
        return Published(manifest=manifest, triton_model=self.model, triton_version=self.model_version)

    def scores(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return (1 / (1 + np.exp(-(rows.astype(np.float64) @ self.weights)))).astype(np.float32)

    def expected_scores(self, userid: int, itemids: list[int]) -> NDArray[np.float32]:
        """What the model says of a user's items, straight from the raw values."""
        user = {name: [value] for name, value in self.user_features[userid].items()} | {"userid": [userid]}
        raw = [self.item_features[itemid] | {"itemid": itemid} for itemid in itemids]
        items = {name: [row[name] for row in raw] for name in raw[0]}
        return self.scores(self.spec.assemble(self.spec.encode_users(user), self.spec.encode_items(items)))
