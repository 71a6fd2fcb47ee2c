"""What recall and ranking read of the exchange folder, by code: ratings in order, genres, release years, profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import OneHotFeature, one_hot
from data_exchange_center.settings import Settings
from offline.data import terms
from offline.data.knowledge import release_year
from offline.data.sequences import Sequences, sequences

PROFILE = (Columns.GENDER, Columns.AGE, Columns.OCCUPATION)
PAST = (Split.TRAIN, Split.TEST)


@dataclass(frozen=True, eq=False)
class Inputs:
    """One row a user of ``data`` or an item code; row 0 of item arrays is padding.

    Attributes:
        data: ratings of all users and items that there are; some may have none.
        genre_names: in code order.
        genres: (items + 1, genres) 0/1.
        years: (items + 1,) release years, 0 unknown.
        profile: PROFILE's vocabularies.
        profiles: (users, PROFILE) codes; 0 is a value nobody knows.
    """

    data: Sequences
    genre_names: tuple[str, ...]
    genres: NDArray[np.float32]
    years: NDArray[np.int64]
    profile: tuple[OneHotFeature, ...]
    profiles: NDArray[np.int64]

    def codes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(users, names) codes of some profile fields."""
        known = [feature.name for feature in self.profile]
        return self.profiles[:, [known.index(name) for name in names]]


def read_inputs(settings: Settings, parts: Sequence[str] = PAST) -> Inputs:
    """``parts``: values of Split; evaluation alone asks for the online rows.

    Raises ArtifactError when a file is missing.
    """
    folder = settings.exchange_dir
    items, users = artifacts.ITEMS.read(folder), artifacts.USERS.read(folder)
    items, users = items.sort_values(Columns.ITEM), users.sort_values(Columns.USER)
    ratings = artifacts.RATINGS.read(folder)
    ratings = ratings[ratings[Columns.SPLIT].isin(parts)]
    itemids, userids = items[Columns.ITEM].to_numpy(), users[Columns.USER].to_numpy()
    genres = terms.genre_names(items)
    flags = terms.genre_flags(terms.genre_codes(items, genres), len(genres))
    profile = tuple(one_hot(name, "user", users[name].tolist()) for name in PROFILE)
    codes = [feature.encode(users[feature.name].to_numpy()) for feature in profile]
    return Inputs(
        data=sequences(ratings, itemids, settings.recipe.data.positive_above, userids),
        genre_names=tuple(genres),
        genres=np.vstack([np.zeros((1, len(genres))), flags]).astype(np.float32),
        years=np.array([0, *map(release_year, items[Columns.TITLE])], dtype=np.int64),
        profile=profile,
        profiles=np.stack(codes, axis=1).astype(np.int64),
    )
