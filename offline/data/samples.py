"""Rows for the ranking model: what the stores will hold, and what the model is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns, Split, clicks, genre_flags, impressions
from data_exchange_center.features import DenseFeature, FeatureSpec, FlagFeature, Float32, one_hot
from offline.data import terms
from offline.data.statistics import whole_numbers


@dataclass(frozen=True, eq=False)
class RatedPairs:
    """Train and test ratings as rows of a click model, with what the rows are encoded from.

    Attributes:
        ratings: userid, itemid, timestamp, label and split of every row.
        spec: the columns.
        rows: (rows, spec.width) encoded, the user's statistics as they stood before the rating.
        user_features, item_features: newest raw values.
    """

    ratings: pd.DataFrame
    spec: FeatureSpec
    rows: Float32
    user_features: pd.DataFrame
    item_features: pd.DataFrame


def rated_pairs(
    ratings: pd.DataFrame,
    users: pd.DataFrame,
    profile: Sequence[str],
    genres: Sequence[str],
    terms_before: pd.DataFrame,
    newest_terms: pd.DataFrame,
    item_terms: pd.DataFrame,
    window: int,
) -> RatedPairs:
    """Tables of the preprocessing steps -> the rows of the source's ranker.

    Args:
        ratings: all rows but the held-out ones.
        profile: columns of ``users``.
        terms_before: `artifacts.IMPRESSION_TERMS`, a row for each of ``ratings``.
        newest_terms: `artifacts.USER_TERMS`.
    """
    spec = build_spec(ratings, users, profile, genres, window)
    of_users, of_items = user_features(profiles(users, profile), newest_terms), item_features(item_terms, genres)
    times = ratings[Columns.TIMESTAMP].to_numpy()
    return RatedPairs(ratings, spec, encode(terms_before, times, of_users, of_items, spec), of_users, of_items)


def build_spec(
    ratings: pd.DataFrame, users: pd.DataFrame, profile: Sequence[str], genres: Sequence[str], window: int
) -> FeatureSpec:
    """The columns of the model, with the vocabularies of the training rows. ``profile``: columns of ``users``."""
    train = ratings[ratings[Columns.SPLIT] != Split.TEST]
    trained = users[users[Columns.USER].isin(train[Columns.USER])]
    return rated_pairs_spec(
        users=train[Columns.USER].unique().tolist(),
        items=train[Columns.ITEM].unique().tolist(),
        profile={name: trained[name].unique().tolist() for name in profile},
        genres=genres,
        window=window,
    )


def user_features(users: pd.DataFrame, user_terms: pd.DataFrame) -> pd.DataFrame:
    """Every user's newest raw values: `profiles` and the statistics; whole numbers are int64."""
    return whole_numbers(users.merge(user_terms, on=Columns.USER, how="left", validate="1:1"))


def profiles(users: pd.DataFrame, profile: Sequence[str]) -> pd.DataFrame:
    """`artifacts.USERS`, some or all -> userid and profile, raw."""
    return whole_numbers(users[[Columns.USER, *profile]])


def item_features(item_terms: pd.DataFrame, genres: Sequence[str]) -> pd.DataFrame:
    """Every item's raw values: itemid and a 0/1 column a genre."""
    flags = terms.genre_flags(item_terms, len(genres)).astype("int64")
    table = pd.DataFrame(flags, columns=genre_flags(genres))
    table.insert(0, Columns.ITEM, item_terms[Columns.ITEM].to_numpy())
    return table


def encode(
    impression_terms: pd.DataFrame,
    times: NDArray[np.int64],
    users: pd.DataFrame,
    items: pd.DataFrame,
    spec: FeatureSpec,
) -> Float32:
    """(rows, spec.width) inputs, one row for every row of ``impression_terms``, at ``times`` (rows,) in seconds.

    Profile and flags are those of the row's user and item; the statistics are the row's own, as they stood before it.
    ``users`` and ``items`` are sorted by id.
    """
    user_row = np.searchsorted(users[Columns.USER], impression_terms[Columns.USER])
    item_row = np.searchsorted(items[Columns.ITEM], impression_terms[Columns.ITEM])
    statistics = impression_terms.drop(columns=[Columns.USER, Columns.ITEM])
    profile = {name: values[user_row] for name, values in _columns(users).items() if name not in statistics}
    encoded_users = spec.encode_users(profile | _columns(statistics))
    return spec.assemble(encoded_users, spec.encode_items(_columns(items))[item_row], times)


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    return {str(name): column.to_numpy() for name, column in frame.items()}


def rated_pairs_spec(
    *,
    users: Sequence[int],
    items: Sequence[int],
    profile: Mapping[str, Sequence[Any]],
    genres: Sequence[str],
    window: int,
) -> FeatureSpec:
    """The spec of the source's columns. Vocabularies are the distinct values of the training rows.

    ``profile``: column -> values.
    """
    return FeatureSpec(
        one_hot=(
            one_hot(Columns.USER, "user", users),
            one_hot(Columns.ITEM, "item", items),
            *(one_hot(name, "user", values) for name, values in profile.items()),
        ),
        multi_hot=tuple(FlagFeature(name=name, entity="item") for name in genre_flags(genres)),
        dense=tuple(
            DenseFeature(name=name, entity="user", scale=window) for name in (*impressions(genres), *clicks(genres))
        ),
        genres=tuple(genres),
    )
