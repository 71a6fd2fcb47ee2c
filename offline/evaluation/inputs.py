"""What the evaluation reads of the exchange folder: ratings in order, genres, release years, profiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data.knowledge import release_year
from offline.data.sequences import Sequences, sequences

PROFILE = (Columns.GENDER, Columns.AGE, Columns.OCCUPATION)


@dataclass(frozen=True)
class Inputs:
    """One row a user of ``data`` or an item code; row 0 of item arrays is padding.

    Attributes:
        data: every rating, the held-out ones too.
        genres: (items + 1, genres) 0/1.
        years: (items + 1,) release years, 0 unknown.
        profiles: (users, PROFILE) codes from 0.
    """

    data: Sequences
    genres: NDArray[np.float32]
    years: NDArray[np.int64]
    profiles: NDArray[np.int64]


def read_inputs(settings: Settings) -> Inputs:
    """Raises ArtifactError when a file is absent, StepError when the held-out rows are not every user's last ones."""
    folder, recipe = settings.exchange_dir, settings.recipe.data
    items = artifacts.ITEMS.read(folder).sort_values(Columns.ITEM)
    ratings = artifacts.RATINGS.read(folder)
    data = sequences(ratings, items[Columns.ITEM].to_numpy(), recipe.positive_above)
    held_out = data.positions >= np.repeat(data.lengths - recipe.online_last, data.lengths)
    if not np.array_equal(held_out, (ratings[Columns.SPLIT] == Split.ONLINE).to_numpy()):
        raise StepError(
            f"ratings.parquet: the online rows are not the last {recipe.online_last} of every user; "
            "run offline/preprocess/s1_data_split.py again."
        )
    flags = items[Columns.GENRES].explode().str.get_dummies().groupby(level=0, sort=False).max()
    years = np.array([0, *map(release_year, items[Columns.TITLE])], dtype=np.int64)
    people = artifacts.USERS.read(folder).set_index(Columns.USER).loc[data.userids, list(PROFILE)]
    profiles = np.stack([pd.Categorical(people[name]).codes.astype(np.int64) for name in PROFILE], axis=1)
    genres = np.vstack([np.zeros((1, flags.shape[1])), flags.to_numpy()]).astype(np.float32)
    return Inputs(data, genres, years, profiles)
