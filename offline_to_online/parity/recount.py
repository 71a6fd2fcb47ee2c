"""What the server's state should be, counted again, straight from the ratings.

The offline steps have counted all of this already. It is counted again here, by other code, so that a mistake in the
artifacts themselves, a wrong window for example, is found too, and not only a difference between two copies of them.
The last ratings of each user, which are held out for evaluation, are never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split, clicks, impressions
from data_exchange_center.features import one_hot
from data_exchange_center.history import History
from data_exchange_center.release_parts import read_dataset
from offline.data.inputs import profile_codes
from offline.data.statistics import (
    HUNDREDS,
    ITEM_LIKES,
    ITEM_MEAN_RATING,
    ITEM_RATINGS,
    ITEM_RECENT,
    N_RATINGS,
    PRIOR,
    RECENT,
    number_column,
)
from offline_to_online.rows.user_rows import UserRow, user_rows


def served_ratings(exchange_dir: Path) -> pd.DataFrame:
    """Train and test rows, sorted by user and time."""
    ratings = artifacts.RATINGS.read(exchange_dir)
    return ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]  # excluded: each user's last ones


def recounted_states(exchange_dir: Path, userids: Sequence[int]) -> dict[int, UserRow]:
    """Recall's rows of some users, their history, profile and seen items counted again. What a model learned stays."""
    served = served_ratings(exchange_dir)
    of_user = served[served[Columns.USER].isin(userids)].groupby(Columns.USER)
    profiles = _profiles(artifacts.USERS.read(exchange_dir), read_dataset(exchange_dir).profile)
    rows = {row.userid: row for row in user_rows(exchange_dir)}
    states = {}
    for userid in userids:
        events = of_user.get_group(userid) if userid in of_user.groups else served.iloc[:0]
        columns = (Columns.ITEM, Columns.RATING, Columns.TIMESTAMP)
        states[userid] = replace(
            rows[userid],
            seen=np.sort(events[Columns.ITEM].to_numpy(np.int32)),
            profile=profiles[userid],
            history=History(*(events[column].to_numpy(np.int64)[::-1] for column in columns)),
        )
    return states


def _profiles(people: pd.DataFrame, names: Sequence[str]) -> dict[int, np.ndarray]:
    codes = profile_codes([one_hot(name, "user", people[name].tolist()) for name in names], people).astype(np.int32)
    return dict(zip(people[Columns.USER].tolist(), codes, strict=True))


def recounted_users(exchange_dir: Path, users: pd.DataFrame, genres: Sequence[str], window: int) -> pd.DataFrame:
    """``users`` (index userid) with every statistic that it holds counted again.

    How many ratings a user has; and over the newest ``window`` of them, how often each genre was rated (impressions),
    and how often liked (clicks).
    """
    served = served_ratings(exchange_dir)
    served = served[served[Columns.USER].isin(users.index)]
    counted = pd.DataFrame(0, users.index, [column(genre) for genre in genres for column in (impressions, clicks)])
    newest = served.groupby(Columns.USER).tail(window)
    codes = artifacts.ITEM_TERMS.read(exchange_dir).set_index(Columns.ITEM)[Columns.GENRES].to_dict()
    for userid, itemid, label in newest[[Columns.USER, Columns.ITEM, Columns.LABEL]].itertuples(index=False):
        for genre in (genres[code - 1] for code in codes.get(itemid, ())):
            counted.loc[userid, impressions(genre)] += 1
            counted.loc[userid, clicks(genre)] += label
    counted[N_RATINGS] = served.groupby(Columns.USER).size().reindex(users.index, fill_value=0)
    return _with(users, counted)


def recounted_items(exchange_dir: Path, items: pd.DataFrame) -> pd.DataFrame:
    """``items`` (index itemid) with every statistic that it holds counted again.

    Ratings, likes, ratings among the newest fifth of all, mean rating (smoothed), the numbers of the data set.
    """
    served = served_ratings(exchange_dir)
    recent = served[served[Columns.TIMESTAMP] > np.quantile(served[Columns.TIMESTAMP], RECENT)]
    liked = served[served[Columns.LABEL] == 1]
    counted = pd.DataFrame(
        {
            name: rows.groupby(Columns.ITEM).size().reindex(items.index, fill_value=0)
            for name, rows in ((ITEM_RATINGS, served), (ITEM_LIKES, liked), (ITEM_RECENT, recent))
        }
    )
    total = served.groupby(Columns.ITEM)[Columns.RATING].sum().reindex(items.index, fill_value=0)
    mean = (total + PRIOR * served[Columns.RATING].mean()) / (counted[ITEM_RATINGS] + PRIOR)
    counted[ITEM_MEAN_RATING] = (HUNDREDS * mean).round().astype(np.int64)
    known = artifacts.ITEMS.read(exchange_dir).set_index(Columns.ITEM).reindex(items.index)
    for number in read_dataset(exchange_dir).numbers:
        counted[number_column(number.name)] = number.stored(known[number.name].to_numpy(np.float64))
    return _with(items, counted)


def _with(frame: pd.DataFrame, counted: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{name: counted[name] for name in counted.columns if name in frame.columns})
