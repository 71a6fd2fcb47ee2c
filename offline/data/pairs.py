"""Rated pairs: rows of the source's ranker, a row a rating, encoded as the user stood before it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import (
    DenseFeature,
    FeatureSpec,
    FlagFeature,
    Float32,
    one_hot,
)
from offline.data import terms


def rated_pairs(
    ratings: pd.DataFrame,
    users: pd.DataFrame,
    profile: Sequence[str],
    genres: Sequence[str],
    before: pd.DataFrame,
    newest: pd.DataFrame,
    item_terms: pd.DataFrame,
    window: int,
) -> tuple[FeatureSpec, Float32, pd.DataFrame, pd.DataFrame]:
    """Tables of the preprocessing steps -> the spec of the source's ranker, its rows, and the newest raw values.

    Rows are (ratings, spec.width): train and test ratings, with the user's statistics as they stood before each. Raw
    values, of users and of items, are for the feature store.

    Args:
        ratings: all rows but the held-out ones.
        profile: columns of ``users``.
        before: `artifacts.IMPRESSION_TERMS`, a row for each of ``ratings``.
        newest: `artifacts.USER_TERMS`.
        item_terms: `artifacts.ITEM_TERMS`.
    """
    # the columns, with the vocabularies of the training rows
    train = ratings[ratings[Columns.SPLIT] != Split.TEST]
    trained = users[users[Columns.USER].isin(train[Columns.USER])]
    spec = rated_pairs_spec(
        users=train[Columns.USER].unique().tolist(),
        items=train[Columns.ITEM].unique().tolist(),
        profile={name: trained[name].unique().tolist() for name in profile},
        genres=genres,
        window=window,
    )

    # newest raw values; whole numbers are int64
    of_users = users[[Columns.USER, *profile]].merge(
        newest, on=Columns.USER, how="left", validate="1:1"
    )
    of_users = terms.whole_numbers(of_users)
    flags = terms.genre_flags(item_terms[Columns.GENRES], len(genres)).astype("int64")
    of_items = pd.DataFrame(flags, columns=terms.columns_of(genres, terms.HAS))
    of_items.insert(0, Columns.ITEM, item_terms[Columns.ITEM].to_numpy())

    # rows: profile and flags of the rating's user and item, statistics as they stood before it
    user_row = np.searchsorted(of_users[Columns.USER], ratings[Columns.USER])
    item_row = np.searchsorted(of_items[Columns.ITEM], ratings[Columns.ITEM])
    people = {
        name: of_users[name].to_numpy()[user_row] for name in (Columns.USER, *profile)
    }
    encoded_users = spec.encode("user", terms.arrays_of(before) | people)
    encoded_items = spec.encode("item", terms.arrays_of(of_items))
    times = ratings[Columns.TIMESTAMP].to_numpy()
    rows = spec.assemble(encoded_users, encoded_items[item_row], times)
    return spec, rows, of_users, of_items


def rated_pairs_spec(
    *,
    users: Sequence[int],
    items: Sequence[int],
    profile: Mapping[str, Sequence[Any]],
    genres: Sequence[str],
    window: int,
) -> FeatureSpec:
    """The spec of the source's columns. Vocabularies are the distinct values; ``profile``: column -> values."""
    return FeatureSpec(
        one_hot=(
            one_hot(Columns.USER, "user", users),
            one_hot(Columns.ITEM, "item", items),
            *(one_hot(name, "user", values) for name, values in profile.items()),
        ),
        multi_hot=tuple(
            FlagFeature(name=name, entity="item")
            for name in terms.columns_of(genres, terms.HAS)
        ),
        dense=tuple(
            DenseFeature(name=name, entity="user", scale=window)
            for name in terms.columns_of(genres, terms.IMPRESSIONS, terms.CLICKS)
        ),
        genres=tuple(genres),
    )
