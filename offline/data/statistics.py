"""Counted columns of the list ranker: raw values as Feast stores them, and the spec that encodes them."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns
from data_exchange_center.features import DenseFeature, Entity, FeatureSpec, HistoryFeature, one_hot
from data_exchange_center.fusion import candidate_columns
from data_exchange_center.recipes import ListRankerRecipe, Recipe
from offline.data.inputs import Inputs
from offline.data.sequences import Sequences

N_RATINGS: Final = "n_ratings"  # of a user
ITEM_RATINGS, ITEM_LIKES, ITEM_RECENT = "item_ratings", "item_likes", "item_recent"
ITEM_MEAN_RATING, ITEM_YEAR = "item_mean_rating_x100", "item_year"
CROSSED: Final = (Columns.GENDER, Columns.AGE)  # profile fields that the ranker crosses with items

RECENT = 0.8  # quantile of all times after which a rating is recent
PRIOR = 10  # ratings of an average item that every item starts with
COUNT_SCALE = 5.0  # brings the logarithm of a count to about one
HUNDREDS = 100.0


def list_spec(inputs: Inputs, recipe: Recipe, ranker: ListRankerRecipe) -> FeatureSpec:
    """Item code and crossed fields; counts; fusion's columns; history. Item codes are those of ``inputs.data``."""

    def count(name: str, entity: Entity) -> DenseFeature:
        return DenseFeature(name=name, entity=entity, scale=COUNT_SCALE, transform="log1p")

    return FeatureSpec(
        one_hot=(
            one_hot(Columns.ITEM, "item", inputs.data.itemids.tolist()),
            *(feature for feature in inputs.profile if feature.name in CROSSED),
        ),
        multi_hot=(),
        dense=(
            count(N_RATINGS, "user"),
            *(count(name, "item") for name in (ITEM_RATINGS, ITEM_LIKES, ITEM_RECENT)),
            DenseFeature(name=ITEM_MEAN_RATING, entity="item", scale=HUNDREDS),
            DenseFeature(name=ITEM_YEAR, entity="item", scale=HUNDREDS),
        ),
        genres=inputs.genre_names,
        candidate=candidate_columns([channel.name for channel in recipe.recall.channels]),
        history=HistoryFeature(length=ranker.history),
    )


def item_statistics(past: Sequences, years: NDArray[np.int64]) -> pd.DataFrame:
    """A row an item: itemid; ratings, likes, ratings in the newest fifth; mean rating (smoothed) in hundredths; year.

    Counts grow with the events they are made of: of 70 % of the events they are about log(1 / 0.7) lower than of all.
    ``years``: (items + 1,).
    """
    size = past.n_items + 1
    ratings = np.bincount(past.items, minlength=size)
    total = np.bincount(past.items, weights=past.ratings, minlength=size)
    mean = (total + PRIOR * past.ratings.mean()) / (ratings + PRIOR)
    recent = past.times > np.quantile(past.times, RECENT)
    columns = {
        ITEM_RATINGS: ratings,
        ITEM_LIKES: np.bincount(past.items[past.liked], minlength=size),
        ITEM_RECENT: np.bincount(past.items[recent], minlength=size),
        ITEM_MEAN_RATING: np.rint(HUNDREDS * mean),
        ITEM_YEAR: years,
    }
    table = pd.DataFrame({name: column[1:].astype("int64") for name, column in columns.items()})
    table.insert(0, Columns.ITEM, past.itemids)
    return table


def user_statistics(past: Sequences, users: pd.DataFrame) -> pd.DataFrame:
    """``users`` (as `artifacts.USERS`) and how much each has rated."""
    counts = pd.Series(past.lengths, index=past.userids).reindex(users[Columns.USER])
    return users.assign(**{N_RATINGS: counts.to_numpy()}).astype({Columns.AGE: "int64", N_RATINGS: "int64"})
