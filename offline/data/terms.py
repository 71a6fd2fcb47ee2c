"""Genre statistics of a user as they stood at a moment: point-in-time joins without a loop.

A *term* is a genre. An impression of a genre is an interaction with an item that has it, a click is an impression
with a positive label. Rows are sorted by user and time (ties in file order), as `split.label_and_split` leaves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.as_of import first_of_second
from data_exchange_center.columns import Columns, Split, clicks, impressions

Int8 = NDArray[np.int8]
# columns of `artifacts.RATINGS` that terms are counted from
COUNTED_FROM: Final = (Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.LABEL, Columns.SPLIT)


def genre_names(items: pd.DataFrame) -> list[str]:
    """All genres in alphabetical order; the code of a genre is its position plus one."""
    return sorted(set(items[Columns.GENRES].explode().dropna()))


def genre_codes(items: pd.DataFrame, genres: Sequence[str]) -> pd.DataFrame:
    """itemid, genres (sorted codes, 1..n)."""
    code = {genre: number for number, genre in enumerate(genres, start=1)}
    codes = [sorted(code[name] for name in set(names)) for names in items[Columns.GENRES]]
    return pd.DataFrame({Columns.ITEM: items[Columns.ITEM].to_numpy(), Columns.GENRES: codes})


def genre_flags(item_terms: pd.DataFrame, n_genres: int) -> Int8:
    """``genre_codes`` as a matrix (items, genres) of 0 and 1."""
    flags = np.zeros((len(item_terms), n_genres), dtype=np.int8)
    for row, codes in enumerate(item_terms[Columns.GENRES]):
        flags[row, np.asarray(codes, dtype=np.int64) - 1] = 1
    return flags


def statistic_columns(genres: Sequence[str]) -> list[str]:
    """Columns of a user's statistics: impressions of every genre, then clicks of every genre."""
    return [*impressions(genres), *clicks(genres)]


def impression_terms(
    ratings: pd.DataFrame, item_terms: pd.DataFrame, genres: Sequence[str], window: int
) -> pd.DataFrame:
    """Ratings of whole users, sorted -> userid, itemid and the statistics that each rating sees, without held-out ones.

    Args:
        item_terms: `genre_codes`, itemids ascending.
    """
    past = _past(ratings, item_terms)
    before = terms_before(past, genre_flags(item_terms, len(genres)), window)
    return statistics_table(past[[Columns.USER, Columns.ITEM]], before, genres)


def user_terms(ratings: pd.DataFrame, item_terms: pd.DataFrame, genres: Sequence[str], window: int) -> pd.DataFrame:
    """Ratings of whole users, sorted -> userid and the newest statistics of each who has a rating not held out."""
    users, newest = newest_terms(_past(ratings, item_terms), genre_flags(item_terms, len(genres)), window)
    return statistics_table(pd.DataFrame({Columns.USER: users}), newest, genres)


def _past(ratings: pd.DataFrame, item_terms: pd.DataFrame) -> pd.DataFrame:
    """Ratings that are not held out, with the row of the item in ``item_terms`` as `item`."""
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT].reset_index(drop=True)  # excluded: the holdout
    return past.assign(item=np.searchsorted(item_terms[Columns.ITEM], past[Columns.ITEM]))


def terms_before(interactions: pd.DataFrame, flags: Int8, window: int) -> Int8:
    """State of the last ``window`` interactions that each row sees, as of its second.

    Args:
        interactions: userid, timestamp, label and `item` (row of the item in ``flags``), sorted.
        flags: (items, genres) 0/1.
        window: how many interactions count.

    Returns:
        (rows, 2 * genres): impressions, then clicks.
    """
    users, times = interactions[Columns.USER].to_numpy(), interactions[Columns.TIMESTAMP].to_numpy()
    first_of_user = first_of_second(users, np.zeros_like(times))
    end = first_of_second(users, times)  # excluded
    return _window_sums(interactions, flags, np.maximum(first_of_user, end - window), end)


def newest_terms(interactions: pd.DataFrame, flags: Int8, window: int) -> tuple[NDArray[np.int32], Int8]:
    """State after each user's last interaction: the served row.

    Returns:
        userids (users,) in ascending order and (users, 2 * genres): impressions, then clicks.
    """
    users = interactions[Columns.USER].to_numpy()
    starts = np.flatnonzero(_changes(users))
    end = np.r_[starts[1:], len(users)][: len(starts)]  # excluded
    return users[starts], _window_sums(interactions, flags, np.maximum(starts, end - window), end)


def statistics_table(frame: pd.DataFrame, statistics: Int8, genres: Sequence[str]) -> pd.DataFrame:
    """``frame`` with the statistics beside it, under their column names."""
    table = pd.DataFrame(statistics, columns=statistic_columns(genres), index=frame.index)
    return pd.concat([frame, table], axis=1)


def _changes(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """True where a value differs from the one before it, and at the first."""
    return np.r_[True, values[1:] != values[:-1]] if len(values) else np.array([], dtype=bool)


def _window_sums(interactions: pd.DataFrame, flags: Int8, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Int8:
    """Impressions and clicks of every genre over the rows begin (included) to end (excluded)."""
    items, labels = interactions["item"].to_numpy(), interactions[Columns.LABEL].to_numpy()
    n_genres = flags.shape[1]
    sums = np.empty((len(begin), 2 * n_genres), dtype=np.int8)
    for genre in range(n_genres):  # one genre at a time keeps memory at one column
        shown = flags[items, genre]
        for column, counted in ((genre, shown), (n_genres + genre, shown * labels)):
            total = np.r_[0, np.cumsum(counted, dtype=np.int32)]
            sums[:, column] = total[end] - total[begin]
    return sums
