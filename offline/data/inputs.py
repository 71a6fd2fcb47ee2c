"""What recall and ranking are fitted on: ratings in order, genres, release years and profiles, by code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns
from data_exchange_center.features import OneHotFeature, one_hot
from offline.data import terms
from offline.data.sequences import Sequences, sequences

PROFILE = (Columns.GENDER, Columns.AGE, Columns.OCCUPATION)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Arrays by user (in the order of ``data``) or by item code; row 0 of item arrays is padding.

    Attributes:
        data: ratings; every user and item has a place, with ratings or without.
        genre_names: in code order.
        genres: (items + 1, genres) 0/1.
        years: (items + 1,) release years, 0 unknown.
        users: userid and PROFILE, raw.
        profile: PROFILE's vocabularies.
        profiles: (users, PROFILE) codes; 0 is an unknown value.
    """

    data: Sequences
    genre_names: tuple[str, ...]
    genres: NDArray[np.float32]
    years: NDArray[np.int64]
    users: pd.DataFrame
    profile: tuple[OneHotFeature, ...]
    profiles: NDArray[np.int64]

    def codes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(users, names) codes of some profile fields."""
        known = [feature.name for feature in self.profile]
        return self.profiles[:, [known.index(name) for name in names]]


def make_inputs(ratings: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame, positive_above: int) -> Inputs:
    """Tables as in `artifacts.RATINGS`, `artifacts.USERS` and `artifacts.ITEMS` -> `Inputs`.

    ``ratings`` are those that may be known; all users and items keep their place, with ratings or without.
    """
    items, users = items.sort_values(Columns.ITEM), users.sort_values(Columns.USER)
    itemids, userids = items[Columns.ITEM].to_numpy(), users[Columns.USER].to_numpy()
    genres = terms.genre_names(items)
    flags = terms.genre_flags(terms.genre_codes(items, genres), len(genres))
    profile = tuple(one_hot(name, "user", users[name].tolist()) for name in PROFILE)
    codes = [feature.encode(users[feature.name].to_numpy()) for feature in profile]
    return Inputs(
        data=sequences(ratings, itemids, positive_above, userids),
        genre_names=tuple(genres),
        genres=np.vstack([np.zeros((1, len(genres))), flags]).astype(np.float32),
        years=np.array([0, *map(release_year, items[Columns.TITLE])], dtype=np.int64),
        users=users[[Columns.USER, *PROFILE]],
        profile=profile,
        profiles=np.stack(codes, axis=1).astype(np.int64),
    )


def release_year(title: str) -> int:
    """``Toy Story (1995)`` -> 1995; 0 where the title names none."""
    found = re.search(r"\((\d{4})\)\s*$", title)
    return int(found.group(1)) if found else 0
