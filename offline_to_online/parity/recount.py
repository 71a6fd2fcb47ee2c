"""The server's expected state, counted again, straight from the ratings.

The offline steps have counted all of this already. It is counted again here, by other code, so that a mistake in the
artifacts themselves, a wrong window for example, is found too, and not only a difference between two copies of them.
The last ratings of each user, which are held out for evaluation, are never read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from data_exchange_center import artifacts, plugins
from data_exchange_center.columns import Columns, Split, clicks, impressions
from data_exchange_center.features import Entity, FeatureSpec, one_hot
from data_exchange_center.history import History
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.steps import CheckError
from offline.data.sequences import profile_codes
from offline.data.statistics import HUNDREDS, PRIOR, RECENT, number_column
from offline_to_online.rows import UserRow, user_rows


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
            seen=np.unique(events[Columns.ITEM].to_numpy(np.int32)),
            profile=profiles[userid],
            history=History(*(events[column].to_numpy(np.int64)[::-1] for column in columns)),
        )
    return states


def _profiles(people: pd.DataFrame, names: Sequence[str]) -> dict[int, np.ndarray]:
    codes = profile_codes([one_hot(name, "user", people[name].tolist()) for name in names], people).astype(np.int32)
    return dict(zip(people[Columns.USER].tolist(), codes, strict=True))


@dataclass(frozen=True)
class Served:
    """Ratings that statistics are counted from, and the users or items they are counted for.

    Attributes:
        ratings: the train and test rows of the users, or of all.
        ids: userids or itemids.
    """

    ratings: pd.DataFrame
    ids: pd.Index

    def size(self, by: str, rows: pd.Series | None = None) -> pd.Series:
        """Number of ratings of each id, or of those of some ``rows``; 0 where none."""
        ratings = self.ratings if rows is None else self.ratings[rows]
        return ratings.groupby(by).size().reindex(self.ids, fill_value=0)


def _recent(served: Served) -> pd.Series:
    times = served.ratings[Columns.TIMESTAMP]
    return served.size(Columns.ITEM, times > np.quantile(times, RECENT))


def _mean_rating(served: Served) -> pd.Series:
    total = served.ratings.groupby(Columns.ITEM)[Columns.RATING].sum().reindex(served.ids, fill_value=0)
    mean = (total + PRIOR * served.ratings[Columns.RATING].mean()) / (served.size(Columns.ITEM) + PRIOR)
    return (HUNDREDS * mean).round().astype(np.int64)


# Every statistic of `offline.data.statistics.STATISTICS` by its column's name, of each of `Served.ids`; those of other
# packages are in the entry points ``recsys.recounts``.
RECOUNTS: dict[str, Callable[[Served], pd.Series]] = {
    "n_ratings": lambda served: served.size(Columns.USER),
    "item_ratings": lambda served: served.size(Columns.ITEM),
    "item_likes": lambda served: served.size(Columns.ITEM, served.ratings[Columns.LABEL] == 1),
    "item_recent": _recent,
    "item_mean_rating_x100": _mean_rating,
}


def recounted_users(exchange_dir: Path, users: pd.DataFrame, spec: FeatureSpec, window: int) -> pd.DataFrame:
    """``users`` (index userid) with every statistic of the spec counted again. Raises CheckError where none can be.

    What is no statistic of `RECOUNTS` is one of genres: over the newest ``window`` ratings of a user, how often each
    genre was rated (impressions), and how often liked (clicks).
    """
    genres, served = spec.genres, served_ratings(exchange_dir)
    served = served[served[Columns.USER].isin(users.index)]
    shown, clicked = impressions(genres), clicks(genres)
    counted = pd.DataFrame(0, users.index, [*shown, *clicked])
    newest = served.groupby(Columns.USER).tail(window)
    codes = artifacts.ITEM_TERMS.read(exchange_dir).set_index(Columns.ITEM)[Columns.GENRES].to_dict()
    for userid, itemid, label in newest[[Columns.USER, Columns.ITEM, Columns.LABEL]].itertuples(index=False):
        for code in codes.get(itemid, ()):
            counted.loc[userid, shown[code - 1]] += 1
            counted.loc[userid, clicked[code - 1]] += label
    return _counted_again(users, spec, "user", Served(served, users.index), counted)


def recounted_items(exchange_dir: Path, items: pd.DataFrame, spec: FeatureSpec) -> pd.DataFrame:
    """``items`` (index itemid) with every statistic of the spec, and every number, counted again.

    Raises CheckError where one cannot be.
    """
    known = artifacts.ITEMS.read(exchange_dir).set_index(Columns.ITEM).reindex(items.index)
    numbers = {
        number_column(number.column): number.stored(known[number.column].to_numpy(np.float64))
        for number in read_dataset(exchange_dir).numbers
    }
    served = Served(served_ratings(exchange_dir), items.index)
    return _counted_again(items, spec, "item", served, pd.DataFrame(numbers, items.index))


def _counted_again(
    frame: pd.DataFrame, spec: FeatureSpec, entity: Entity, served: Served, counted: pd.DataFrame
) -> pd.DataFrame:
    """``frame`` with the numbers of one side counted again: those in ``counted`` are, the others by `RECOUNTS`."""
    columns = {}
    for name in (feature.name for feature in spec.dense if feature.entity == entity):
        if name in counted:
            columns[name] = counted[name]
        elif name in RECOUNTS:
            columns[name] = RECOUNTS[name](served)
        elif name in plugins.find(plugins.RECOUNTS):
            columns[name] = plugins.load(plugins.RECOUNTS, name)(served)
        else:
            raise CheckError(
                f"feature {name!r} is counted in one place only, so nothing can be checked: say in RECOUNTS of "
                "offline_to_online/parity/recount.py, or in an entry point recsys.recounts, how it is counted again"
            )
    return frame.assign(**columns)
