"""Terms: genres of items, users' genre statistics joined point in time, recall by genre.

A *term* is a genre. An impression of a genre is an interaction with an item that has it, a click is an impression
with a positive label. Ratings are sorted by user and time (ties in file order), as `split.label_and_split` leaves them.

A user's statistics follow from the user's own rows alone: users may be counted chunk by chunk.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns
from data_exchange_center.history import first_of_second

Int8 = NDArray[np.int8]
# columns of `artifacts.RATINGS` that terms are counted from
COUNTED_FROM: Final = [
    Columns.USER,
    Columns.ITEM,
    Columns.TIMESTAMP,
    Columns.LABEL,
    Columns.SPLIT,
]

LONGEST_SLUG: Final = 48


def slugs(names: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Slugs, one for each name: ``Film-Noir`` -> ``film_noir``, letters, digits and _, which every store accepts.

    They have at most `LONGEST_SLUG` characters, are not empty, distinct, and none is ``taken``. Where a plain slug is
    taken, _ and eight digits of a hash of the name follow: ``C++`` after ``C`` is ``c_`` and these. The first of
    several names with the same slug, in alphabetical order, has the plain one.
    """
    used, made = set(taken), {}
    for name in sorted(set(names)):
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower().replace("'", "")).strip("_")
        slug, digest = plain[:LONGEST_SLUG], name.encode()
        while not slug or slug in used:
            digest = hashlib.sha256(digest).hexdigest().encode()
            slug = f"{plain[: LONGEST_SLUG - 9] or 'x'}_{digest[:8].decode()}"
        used.add(slug)
        made[name] = slug
    return [made[name] for name in names]


IMPRESSIONS: Final = "imp"  # of a user within the window; `CLICKS` likewise
CLICKS: Final = "click"
HAS: Final = "genre"  # whether an item has the genre (1) or not (0)


def columns_of(genres: Sequence[str], *kinds: str) -> list[str]:
    """Columns of every genre, ``imp_film_noir``, kind after kind: `IMPRESSIONS`, `CLICKS` or `HAS`."""
    return [f"{kind}_{slug}" for kind in kinds for slug in slugs(genres)]


def genre_names(items: pd.DataFrame) -> list[str]:
    """List all genres in alphabetical order; the code of a genre is its position plus one."""
    return sorted(set(items[Columns.GENRES].explode().dropna()))


def genre_codes(items: pd.DataFrame, genres: Sequence[str]) -> pd.DataFrame:
    """Table of itemid and genres (sorted codes, 1..n)."""
    code = {genre: number for number, genre in enumerate(genres, start=1)}
    codes = [
        sorted(code[name] for name in set(names)) for names in items[Columns.GENRES]
    ]
    return pd.DataFrame(
        {Columns.ITEM: items[Columns.ITEM].to_numpy(), Columns.GENRES: codes}
    )


def genre_flags(codes: Sequence[Sequence[int]] | pd.Series, n_genres: int) -> Int8:
    """Genre codes (1..n) of each of m rows as a matrix (m, genres) of 0 and 1."""
    flags = np.zeros((len(codes), n_genres), dtype=np.int8)
    for row, each in enumerate(codes):
        flags[row, np.asarray(each, dtype=np.int64) - 1] = 1
    return flags


def impression_terms(
    past: pd.DataFrame, item_terms: pd.DataFrame, genres: Sequence[str], window: int
) -> pd.DataFrame:
    """userid, itemid and the statistics that each rating sees, as of its second: `artifacts.IMPRESSION_TERMS`.

    Args:
        past: ratings without the held-out ones.
        item_terms: `genre_codes`, item_numbers ascending.
        window: number of newest interactions that count.
    """
    users, times = past[Columns.USER].to_numpy(), past[Columns.TIMESTAMP].to_numpy()
    first_of_user, end = (
        first_of_second(users, np.zeros_like(times)),
        first_of_second(users, times),
    )
    seen = np.maximum(first_of_user, end - window), end
    return _with_statistics(
        past[[Columns.USER, Columns.ITEM]], past, *seen, item_terms, genres
    )


def user_terms(
    past: pd.DataFrame,
    users: pd.Series,
    item_terms: pd.DataFrame,
    genres: Sequence[str],
    window: int,
) -> pd.DataFrame:
    """userid and the newest statistics of each of ``users``, which are served: `artifacts.USER_TERMS`.

    They count the user's last ``window`` interactions; zeros without any. Args as in `impression_terms`.
    """
    first_of_user, end = (
        np.searchsorted(past[Columns.USER], users, side=side)
        for side in ("left", "right")
    )
    last = np.maximum(first_of_user, end - window), end
    return _with_statistics(
        users.reset_index(drop=True).to_frame(), past, *last, item_terms, genres
    )


def _with_statistics(
    frame: pd.DataFrame,
    past: pd.DataFrame,
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    item_terms: pd.DataFrame,
    genres: Sequence[str],
) -> pd.DataFrame:
    """Append to each row impressions and clicks of every genre over the ratings begin (included) to end (excluded)."""
    items, labels = (
        np.searchsorted(item_terms[Columns.ITEM], past[Columns.ITEM]),
        past[Columns.LABEL].to_numpy(),
    )
    flags = genre_flags(item_terms[Columns.GENRES], len(genres))
    sums = np.empty((len(frame), 2 * len(genres)), dtype=np.int8)
    for genre in range(len(genres)):  # one genre at a time keeps memory at one column
        shown = flags[items, genre]
        for column, counted in ((genre, shown), (len(genres) + genre, shown * labels)):
            total = np.r_[0, np.cumsum(counted, dtype=np.int32)]
            sums[:, column] = total[end] - total[begin]
    statistics = pd.DataFrame(
        sums, columns=columns_of(genres, IMPRESSIONS, CLICKS), index=frame.index
    )
    return pd.concat([frame, statistics], axis=1)


def preferences(
    user_terms: pd.DataFrame, genres: Sequence[str], at_least: int
) -> pd.DataFrame:
    """userid, genres: codes of the genres clicked ``at_least`` times within the window, most clicked first
    (ties: lower code first); empty where there is none."""
    counts = user_terms[columns_of(genres, CLICKS)].to_numpy()  # (users, genres)
    order, n_preferred = (
        np.argsort(-counts, axis=1, kind="stable"),
        (counts >= at_least).sum(axis=1),
    )
    preferred = [
        (row[:n] + 1).tolist() for row, n in zip(order, n_preferred, strict=True)
    ]
    return pd.DataFrame(
        {Columns.USER: user_terms[Columns.USER].to_numpy(), Columns.GENRES: preferred}
    )


def seen_items(had: pd.DataFrame, users: pd.Series) -> pd.DataFrame:
    """userid, seen: the items of each of ``users``, once each, oldest first: `artifacts.USER_SEEN`.

    ``had``: ratings without the held-out ones, those of `Dataset.had`.
    """
    first = had.drop_duplicates([Columns.USER, Columns.ITEM])
    ends = np.searchsorted(first[Columns.USER], users, side="right")
    seen = np.split(first[Columns.ITEM].to_numpy(), ends)[: len(users)]
    return pd.DataFrame({Columns.USER: users.to_numpy(), Columns.SEEN: list(seen)})


def clicked_items(interactions: pd.DataFrame) -> tuple[pd.Series, int]:
    """Item number -> how many users clicked an item, 0 if it was only shown; and how many users there are."""
    pairs = interactions.groupby([Columns.ITEM, Columns.USER])[Columns.LABEL].max()
    return pairs.groupby(level=Columns.ITEM).sum().astype(np.int64), interactions[
        Columns.USER
    ].nunique()


def popularity(clicked: pd.Series, users: int) -> pd.DataFrame:
    """`clicked_items` -> itemid, score: share of the users who clicked the item, best first (ties: lower itemid)."""
    share = clicked.sort_index() / users
    table: pd.DataFrame = share.astype("float32").rename(Columns.SCORE).reset_index()
    return table.sort_values(
        [Columns.SCORE, Columns.ITEM], ascending=[False, True], ignore_index=True
    )


def arrays_of(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """A table's columns by name, as `FeatureSpec.encode` reads them."""
    return {str(name): column.to_numpy() for name, column in frame.items()}


def whole_numbers(users: pd.DataFrame) -> pd.DataFrame:
    """Cast the users' numeric features, all but userid, to int64, as Feast stores them."""
    return users.astype(
        dict.fromkeys(users.select_dtypes("number").columns.drop(Columns.USER), "int64")
    )
