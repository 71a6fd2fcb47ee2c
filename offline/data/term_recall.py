"""Recall by terms: the genres a user likes, matched with the genres of the items.

What is said of users takes the rows of whole users, sorted; what is said of all of them is a sum over users, so that it
may be counted of a few at a time. An engine adds the counts up, and `popularity` and `report` are made of the sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_exchange_center.columns import Columns, Split, clicks
from data_exchange_center.recipes import Recipe
from offline.data import terms
from offline.data.split import validation_mask
from offline.data.terms import Int8
from offline.data.whole_users import USERS, added_up

EVERYBODY: Final = 0  # no item's number: what is counted of it is how many users there are
WHAT: Final = "what"
CLICK_KEYS: Final = {WHAT: pa.string(), Columns.ITEM: pa.int32()}
OUTCOME_KEYS: Final = {WHAT: pa.string(), "found": pa.int64(), "of": pa.int64()}
PAST, FITTED = "past", "fitted"  # of `clicks_by_item`
PREFERENCE, CANDIDATES, RECALL = "preference", "candidates", "recall"  # of `outcomes`


def preferences(user_terms: pd.DataFrame, genres: Sequence[str], at_least: int) -> pd.DataFrame:
    """userid, genres: codes of the genres clicked ``at_least`` times within the window, most clicked first
    (ties: lower code first); empty where there is none."""
    counts = user_terms[clicks(genres)].to_numpy()
    return pd.DataFrame(
        {Columns.USER: user_terms[Columns.USER].to_numpy(), Columns.GENRES: preferred_codes(counts, at_least)}
    )


def preferred_codes(counts: Int8, at_least: int) -> list[list[int]]:
    """(users, genres) clicks -> for every user the codes of the preferred genres, most clicked first."""
    order = np.argsort(-counts, axis=1, kind="stable")
    n_preferred = (counts >= at_least).sum(axis=1)
    return [(row[:n] + 1).tolist() for row, n in zip(order, n_preferred, strict=True)]


def with_preference(user_terms: pd.DataFrame, genres: Sequence[str], at_least: int) -> pd.DataFrame:
    """`USERS` by whether they have a preferred genre (`found` 1) or none (0), as `outcomes` counts them."""
    preferred = preferred_codes(user_terms[clicks(genres)].to_numpy(), at_least)
    return _counted([(PREFERENCE, int(len(codes) > 0), 1) for codes in preferred])


def seen_items(ratings: pd.DataFrame) -> pd.DataFrame:
    """Ratings of whole users, sorted -> userid, seen: the items of each one's rows that are not held out, once each,
    oldest first."""
    first = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT].drop_duplicates([Columns.USER, Columns.ITEM])
    return first.groupby(Columns.USER, sort=False)[Columns.ITEM].agg(list).rename(Columns.SEEN).reset_index()


def clicks_by_item(ratings: pd.DataFrame, validation_share: float) -> pd.DataFrame:
    """Ratings of whole users, sorted -> `what`, itemid, `users`: how many clicked an item, 0 if it was only shown.

    ``what``: `PAST`, all but the held-out rows, or `FITTED`, what preferences are validated with.
    """
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    parts = {PAST: past, FITTED: _train(past, validation_share)[0]}
    return pd.concat([_clicked(rows).assign(**{WHAT: name}) for name, rows in parts.items()], ignore_index=True)


def _clicked(interactions: pd.DataFrame) -> pd.DataFrame:
    pairs = interactions.groupby([Columns.ITEM, Columns.USER])[Columns.LABEL].max()
    clicked = pairs.groupby(level=Columns.ITEM).sum()
    items = np.append(clicked.index.to_numpy(np.int32), np.int32(EVERYBODY))
    users = np.append(clicked.to_numpy(np.int64), interactions[Columns.USER].nunique())
    return pd.DataFrame({Columns.ITEM: items, USERS: users})


def popularity(counts: pd.DataFrame, what: str = PAST) -> pd.DataFrame:
    """Sums of `clicks_by_item` -> itemid, score: share of the users with interactions who clicked the item, best first
    (ties: lower itemid)."""
    users = counts[counts[WHAT] == what].set_index(Columns.ITEM)[USERS].sort_index()
    share = users.drop(EVERYBODY) / users[EVERYBODY]
    table: pd.DataFrame = share.astype("float32").rename(Columns.SCORE).reset_index()
    return table.sort_values([Columns.SCORE, Columns.ITEM], ascending=[False, True], ignore_index=True)


def _train(ratings: pd.DataFrame, validation_share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The training rows without the validation part, and that part."""
    train = ratings[ratings[Columns.SPLIT] == Split.TRAIN]
    held_out = validation_mask(train[Columns.USER], validation_share)
    return train[~held_out], train[held_out]


def outcomes(
    ratings: pd.DataFrame, item_terms: pd.DataFrame, n_genres: int, popular: pd.DataFrame, recipe: Recipe
) -> pd.DataFrame:
    """Preferences as they stand before the validation rows, against what those rows click: `outcomes_of` users.

    Args:
        ratings: of whole users, sorted.
        popular: `popularity` of `FITTED`.
    """
    flags = terms.genre_flags(item_terms, n_genres)
    ratings = ratings.assign(item=np.searchsorted(item_terms[Columns.ITEM], ratings[Columns.ITEM]))
    fit, validation = _train(ratings, recipe.data.validation_share)
    users, state = terms.newest_terms(fit, flags, recipe.data.window)
    scores = popular.set_index(Columns.ITEM)[Columns.SCORE].reindex(item_terms[Columns.ITEM], fill_value=0)
    return outcomes_of(
        preferred_codes(state[:, n_genres:], recipe.data.clicks_for_preference),
        flags,
        scores.to_numpy(np.float32),
        _items_of(fit, users),
        _items_of(validation[validation[Columns.LABEL] == 1], users),
        recipe.recall.candidates,
    )


def _items_of(rows: pd.DataFrame, users: NDArray[np.int32]) -> list[NDArray[np.int64]]:
    """The items of every user's rows, in the order of ``users``."""
    lists = {user: part.to_numpy() for user, part in rows.groupby(Columns.USER)["item"]}
    return [lists.get(user, np.array([], dtype=np.int64)) for user in users]


def outcomes_of(
    preferred: Sequence[Sequence[int]],
    flags: Int8,
    scores: NDArray[np.float32],
    history: Sequence[NDArray[np.int64]],
    targets: Sequence[NDArray[np.int64]],
    size: int,
) -> pd.DataFrame:
    """What term recall finds of what users go on to click, counted.

    A user's candidates are the unseen items that have a preferred genre, those with more of them first, then the more
    popular. Items are row numbers of ``flags``.

    Args:
        preferred: genre codes of each user.
        flags: (items, genres) 0/1.
        scores: (items,) popularity.
        history: items each user has seen.
        targets: items each user clicks afterwards; users without one are left out of the recall.
        size: how many candidates are taken.

    Returns:
        `what`, `found`, `of`, `users`: how many users had a `PREFERENCE` (found 1) or none (0), so many `CANDIDATES`
        (found), so many of what they went on to click among them (`RECALL`: found, of).
    """
    rows: list[tuple[str, int, int]] = []
    for codes, seen, wanted in zip(preferred, history, targets, strict=True):
        matches = flags[:, np.asarray(codes, dtype=np.int64) - 1].sum(axis=1, dtype=np.float32)
        matches[seen] = 0
        rows += [(PREFERENCE, int(len(codes) > 0), 1), (CANDIDATES, int((matches > 0).sum()), len(flags))]
        if len(wanted):
            ranking = np.where(matches > 0, matches + scores, -1.0)  # a popularity is at most 1: it breaks ties
            top = np.argpartition(-ranking, min(size, len(ranking)) - 1)[:size]
            rows.append((RECALL, int(np.isin(wanted, top[ranking[top] >= 0]).sum()), len(wanted)))
    return _counted(rows)


def _counted(rows: Sequence[tuple[str, int, int]]) -> pd.DataFrame:
    return added_up(pd.DataFrame(rows, columns=list(OUTCOME_KEYS)).assign(**{USERS: 1}), OUTCOME_KEYS)


def report(counts: pd.DataFrame, size: int) -> dict[str, Any]:
    """Sums of `outcomes` -> share of users with a preference, quantiles of the number of candidates, mean recall@size
    over the users who went on to click something."""
    candidates, recall = (counts[counts[WHAT] == what] for what in (CANDIDATES, RECALL))
    targets = int(recall[USERS].sum())
    total = float((recall["found"] / recall["of"] * recall[USERS]).sum())
    return {
        "users": int(candidates[USERS].sum()),
        "share_with_preference": share_with_preference(counts),
        "candidates": {f"p{q}": _percentile(candidates["found"], candidates[USERS], q) for q in (10, 50, 90)},
        f"recall_at_{size}": total / targets if targets else None,
        "users_with_target": targets,
    }


def share_with_preference(counts: pd.DataFrame) -> float:
    """Of the users of `with_preference` or `outcomes`; NaN where there are none."""
    users = counts[counts[WHAT] == PREFERENCE].set_index("found")[USERS]
    return float(users.get(1, 0) / users.sum()) if len(users) else math.nan


def _percentile(values: pd.Series, counts: pd.Series, q: int) -> float:
    """As `numpy.percentile` of ``values``, ascending, each there ``counts`` times; NaN of none."""
    until = counts.to_numpy().cumsum()
    if not len(until):
        return math.nan
    place = (until[-1] - 1) * q / 100
    below, above = values.to_numpy()[np.searchsorted(until, [np.floor(place), np.ceil(place)], side="right")]
    return float(below + (above - below) * (place % 1))
