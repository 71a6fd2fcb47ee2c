"""Users' state, of which a request's vectors are made: profile codes, and every event that may be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns, Split
from data_exchange_center.feature_kinds import OneHotFeature
from offline.data.sequences import profile_codes
from offline.data.whole_users import USERS

READ: Final = [Columns.USER, Columns.ITEM, Columns.RATING, Columns.TIMESTAMP, Columns.SPLIT]  # by `newest_first`


def newest_first(ratings: pd.DataFrame) -> pd.DataFrame:
    """Ratings of whole users, sorted -> userid; items, ratings and times of each one's rows that are not held out."""
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    users = past[Columns.USER].to_numpy()
    begins = np.flatnonzero(np.diff(users, prepend=users[:1] - 1))

    def lists(column: str) -> list[NDArray[np.generic]]:
        return [each[::-1] for each in np.split(past[column].to_numpy(), begins)[1:]]

    return pd.DataFrame(
        {
            Columns.USER: users[begins],
            Columns.ITEMS: lists(Columns.ITEM),
            Columns.RATINGS: lists(Columns.RATING),
            Columns.TIMES: lists(Columns.TIMESTAMP),
        }
    )


def profiles(users: pd.DataFrame, profile: Sequence[OneHotFeature]) -> pd.DataFrame:
    """`artifacts.USERS`, some or all -> userid; profile, a list of codes."""
    codes = list(profile_codes(profile, users))
    return pd.DataFrame({Columns.USER: users[Columns.USER].to_numpy(), Columns.PROFILE: codes})


def values(users: pd.DataFrame, column: str) -> pd.DataFrame:
    """`artifacts.USERS`, some or all -> `USERS` by their value of a profile's column."""
    return users.groupby(column).size().rename(USERS).reset_index()
