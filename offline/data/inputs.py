"""What recall and ranking are fitted on: ratings in order, terms, numbers and profiles, by code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset
from data_exchange_center.feature_kinds import OneHotFeature, one_hot
from offline.data import terms
from offline.data.sequences import Sequences, sequences


@dataclass(frozen=True, eq=False)
class Inputs:
    """Arrays by user (in the order of ``data``) or by item code; row 0 of item arrays is padding.

    Attributes:
        dataset: names of the profile's columns and of the numbers, levels of the ratings.
        data: ratings; every user and item has a place, with ratings or without.
        genre_names: in code order.
        genres: (items + 1, genres) 0/1.
        numbers: (items + 1, `Dataset.numbers`) values, NaN where unknown.
        users: userid and profile, raw.
        profile: the profile's vocabularies.
        profiles: (users, profile) codes; 0 is an unknown value.
    """

    dataset: Dataset
    data: Sequences
    genre_names: tuple[str, ...]
    genres: NDArray[np.float32]
    numbers: NDArray[np.float64]
    users: pd.DataFrame
    profile: tuple[OneHotFeature, ...]
    profiles: NDArray[np.int64]

    def codes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(users, names) codes of some profile fields."""
        known = [feature.name for feature in self.profile]
        return self.profiles[:, [known.index(name) for name in names]]


def make_inputs(ratings: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame, dataset: Dataset) -> Inputs:
    """Tables as in `artifacts.RATINGS`, `artifacts.USERS` and `artifacts.ITEMS` -> `Inputs`.

    ``ratings`` are those that may be known; all users and items keep their place, with ratings or without.
    """
    items, users = items.sort_values(Columns.ITEM), users.sort_values(Columns.USER)
    itemids, userids = items[Columns.ITEM].to_numpy(), users[Columns.USER].to_numpy()
    genres = terms.genre_names(items)
    flags = terms.genre_flags(terms.genre_codes(items, genres), len(genres))
    profile = tuple(one_hot(name, "user", users[name].tolist()) for name in dataset.profile)
    numbers = items[[number.column for number in dataset.numbers]].to_numpy(np.float64)
    return Inputs(
        dataset=dataset,
        data=sequences(ratings, itemids, dataset.positive_level, userids),
        genre_names=tuple(genres),
        genres=np.vstack([np.zeros((1, len(genres))), flags]).astype(np.float32),
        numbers=np.vstack([np.full((1, numbers.shape[1]), np.nan), numbers]),
        users=users[[Columns.USER, *dataset.profile]],
        profile=profile,
        profiles=profile_codes(profile, users),
    )


def profile_codes(profile: Sequence[OneHotFeature], users: pd.DataFrame) -> NDArray[np.int64]:
    """(users, profile) codes; no columns where there is no profile."""
    codes = [feature.encode(users[feature.name].to_numpy()) for feature in profile]
    return np.stack(codes, axis=1).astype(np.int64) if codes else np.zeros((len(users), 0), dtype=np.int64)
