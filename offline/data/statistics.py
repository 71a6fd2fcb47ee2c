"""Counted columns of the list ranker: raw values as Feast stores them, and the spec that encodes them."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from data_exchange_center.columns import Columns
from data_exchange_center.features import DenseFeature, Entity, FeatureSpec, HistoryFeature, one_hot
from data_exchange_center.fusion import candidate_columns
from data_exchange_center.recipes import ListRankerRecipe, Recipe
from offline.data.inputs import Inputs
from offline.data.sequences import Sequences

N_RATINGS: Final = "n_ratings"  # of a user
ITEM_RATINGS, ITEM_LIKES, ITEM_RECENT = "item_ratings", "item_likes", "item_recent"
ITEM_MEAN_RATING = "item_mean_rating_x100"

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
            *(feature for feature in inputs.profile if feature.name in inputs.dataset.crossed),
        ),
        multi_hot=(),
        dense=(
            count(N_RATINGS, "user"),
            *(count(name, "item") for name in (ITEM_RATINGS, ITEM_LIKES, ITEM_RECENT)),
            DenseFeature(name=ITEM_MEAN_RATING, entity="item", scale=HUNDREDS),
            *(
                DenseFeature(name=number_column(number.name), entity="item", scale=number.scale)
                for number in inputs.dataset.numbers
            ),
        ),
        genres=inputs.genre_names,
        candidate=candidate_columns([channel.name for channel in recipe.recall.channels]),
        history=HistoryFeature(length=ranker.history),
    )


def number_column(name: str) -> str:
    """Column of an item's number in the feature store: ``year`` -> ``item_year``."""
    return f"item_{name}"


def item_statistics(past: Sequences, inputs: Inputs) -> pd.DataFrame:
    """Item by item: itemid; ratings, likes, ratings in the newest fifth; smoothed mean rating in hundredths; numbers.

    Counts grow with the events they are made of: of 70 % of the events they are about log(1 / 0.7) lower than of all.
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
        **{
            number_column(number.name): number.stored(values)
            for number, values in zip(inputs.dataset.numbers, inputs.numbers.T, strict=True)
        },
    }
    table = pd.DataFrame({name: column[1:].astype("int64") for name, column in columns.items()})
    table.insert(0, Columns.ITEM, past.itemids)
    return table


def user_statistics(past: Sequences, users: pd.DataFrame) -> pd.DataFrame:
    """``users`` (userid and profile) and how much each has rated; whole numbers are int64, as Feast keeps them."""
    counts = pd.Series(past.lengths, index=past.userids).reindex(users[Columns.USER])
    table = users.assign(**{N_RATINGS: counts.to_numpy()})
    return table.astype(dict.fromkeys(table.select_dtypes("number").columns.drop(Columns.USER), "int64"))
