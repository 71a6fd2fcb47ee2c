"""Recall by terms: the genres a user likes, matched with the genres of the items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns, clicks
from offline.data.terms import Int8


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


def seen_items(interactions: pd.DataFrame, users: pd.Series) -> pd.DataFrame:
    """userid, seen: the items of each user's interactions, once each, oldest first; a row for each of ``users``."""
    first = interactions.drop_duplicates([Columns.USER, Columns.ITEM])
    lists = first.groupby(Columns.USER, sort=False)[Columns.ITEM].agg(list)
    seen = [lists.get(user, []) for user in users]
    return pd.DataFrame({Columns.USER: users.to_numpy(), Columns.SEEN: seen})


def popularity(interactions: pd.DataFrame) -> pd.DataFrame:
    """itemid, score: share of the users with interactions who clicked the item, best first (ties: lower itemid)."""
    pairs = interactions.groupby([Columns.ITEM, Columns.USER])[Columns.LABEL].max()
    clicked = pairs.groupby(level=Columns.ITEM).sum() / interactions[Columns.USER].nunique()
    table = clicked.astype("float32").rename(Columns.SCORE).reset_index()
    return table.sort_values([Columns.SCORE, Columns.ITEM], ascending=[False, True], ignore_index=True)


def evaluate(
    preferred: Sequence[Sequence[int]],
    flags: Int8,
    scores: NDArray[np.float32],
    history: Sequence[NDArray[np.int64]],
    targets: Sequence[NDArray[np.int64]],
    size: int,
) -> dict[str, Any]:
    """What term recall finds of what users go on to click.

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
        share of users with a preference, quantiles of the number of candidates, mean recall@size over users.
    """
    counts, recalls = [], []
    for codes, seen, wanted in zip(preferred, history, targets, strict=True):
        matches = flags[:, np.asarray(codes, dtype=np.int64) - 1].sum(axis=1, dtype=np.float32)
        matches[seen] = 0
        counts.append(int((matches > 0).sum()))
        if len(wanted):
            ranking = np.where(matches > 0, matches + scores, -1.0)  # a popularity is at most 1: it breaks ties
            top = np.argpartition(-ranking, min(size, len(ranking)) - 1)[:size]
            found = np.isin(wanted, top[ranking[top] >= 0])
            recalls.append(float(found.mean()))
    return {
        "users": len(counts),
        "share_with_preference": float(np.mean([len(codes) > 0 for codes in preferred])),
        "candidates": {f"p{q}": float(np.percentile(counts, q)) for q in (10, 50, 90)},
        f"recall_at_{size}": float(np.mean(recalls)) if recalls else None,
        "users_with_target": len(recalls),
    }
