"""People, films and ratings that never were: what a synthetic release is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns, Split

GENRES: Final = ("Action", "Adventure", "Children's", "Film-Noir")
GENDERS, AGES, OCCUPATIONS = ("F", "M"), (18, 25, 45), ("artist", "writer")
HOLDOUT_LAST: Final = 10  # of every user, as MovieLens's rule says
DIM: Final = 6  # of vectors
DILIGENT: Final = 2  # the user who has rated more than a history holds
MANY: Final = 150


@dataclass(frozen=True)
class World:
    """Tables that all parts of a release are derived from."""

    random: np.random.Generator
    userids: NDArray[np.int64]
    itemids: NDArray[np.int64]  # ascending
    genres: tuple[str, ...]
    codes: Mapping[int, list[int]]  # itemid -> genre codes
    people: pd.DataFrame  # as artifacts.USERS
    ratings: pd.DataFrame  # as artifacts.RATINGS

    @classmethod
    def made_up(
        cls, random: np.random.Generator, users: int, items: int, genres: tuple[str, ...], holdout_last: int
    ) -> World:
        userids, itemids = (
            np.arange(1, users + 1),
            np.sort(random.choice(np.arange(1, items * 2), items, replace=False)),
        )
        codes = {item: sorted(random.choice(len(genres), random.integers(1, 3), replace=False) + 1) for item in itemids}
        people = pd.DataFrame(
            {
                Columns.USER: userids,
                Columns.GENDER: random.choice(GENDERS, users),
                Columns.AGE: random.choice(AGES, users),
                Columns.OCCUPATION: random.choice(OCCUPATIONS, users),
            }
        )
        counts = np.where(userids == DILIGENT, MANY, random.integers(20, 40, users))
        parts = [
            _ratings(random, user, itemids, int(n), holdout_last)
            for user, n in zip(userids.tolist(), counts, strict=True)
        ]
        return cls(random, userids, itemids, genres, codes, people, pd.concat(parts, ignore_index=True))

    @property
    def served(self) -> pd.DataFrame:
        """Everything but each user's last ratings."""
        return self.ratings[self.ratings[Columns.SPLIT] != Split.HOLDOUT]

    @property
    def titles(self) -> list[str]:
        return [f"Film {item} ({1920 + item % 80})" for item in self.itemids]

    @property
    def trained(self) -> NDArray[np.bool_]:
        """(items,) who competes: what was rated, and of that not the last item."""
        rated: NDArray[np.bool_] = np.isin(self.itemids, self.served[Columns.ITEM])
        not_the_last: NDArray[np.bool_] = self.itemids < self.itemids[-1]
        return rated & not_the_last

    def statistics(self, window: int) -> NDArray[np.int64]:
        """(users, 2 genres): impressions, then clicks, over each user's newest ratings."""
        counts = np.zeros((len(self.userids), 2 * len(self.genres)), dtype=np.int64)
        newest = self.served.groupby(Columns.USER).tail(window)
        for user, item, label in newest[[Columns.USER, Columns.ITEM, Columns.LABEL]].itertuples(index=False):
            row = np.searchsorted(self.userids, user)
            for code in self.codes[item]:
                counts[row, code - 1] += 1
                counts[row, len(self.genres) + code - 1] += label
        return counts


def _ratings(
    random: np.random.Generator, user: int, itemids: NDArray[np.int64], n: int, holdout_last: int
) -> pd.DataFrame:
    kept, stars = n - holdout_last, random.integers(1, 6, n)
    return pd.DataFrame(
        {
            Columns.USER: user,
            Columns.ITEM: random.choice(itemids, n, replace=False),
            Columns.RATING: stars,
            Columns.TIMESTAMP: np.sort(random.integers(1_000_000_000, 1_000_100_000, n)),
            Columns.LABEL: (stars > 3).astype(int),
            Columns.SPLIT: [
                Split.TRAIN if k < 0.8 * kept else Split.TEST if k < kept else Split.HOLDOUT for k in range(n)
            ],
        }
    )
