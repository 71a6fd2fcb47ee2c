"""What the ranker is told about users and items beyond their attributes, counted over events.

A statistic is one entry of `STATISTICS`: its column (name, entity, how a stored value becomes the input) and how it is
counted. The `FeatureSpec`, the training lists, Feast, Triton and the server follow from it;
``offline_to_online/parity/recount.py`` counts it once more, in another way, to check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns
from data_exchange_center.feature_kinds import DenseFeature, Entity, HistoryFeature, NumberFeature, one_hot
from data_exchange_center.features import FeatureSpec
from data_exchange_center.fusion import candidate_columns
from data_exchange_center.rankers.contract import ListsRecipe
from data_exchange_center.recipes import Recipe
from offline.data.inputs import Inputs
from offline.data.sequences import Ints, Sequences


@dataclass(frozen=True)
class UserStatistic:
    """A whole number about each user, known at every moment of the user's past.

    Attributes:
        column: of the user.
        after: events, users (m,) and counts (m,) -> (m,): what stores hold after the first so many events of each user.
            It must not look at later ones.
    """

    column: NumberFeature
    after: Callable[[Sequences, Ints, Ints], Ints]


@dataclass(frozen=True)
class ItemStatistic:
    """A whole number about each item at the end of a past.

    Attributes:
        column: of the item.
        of: the past -> (items + 1,); row 0 (padding) is not read.
    """

    column: NumberFeature
    of: Callable[[Sequences], NDArray[np.generic]]


RECENT = 0.8  # quantile of all times after which a rating is recent
PRIOR = 10  # ratings of an average item that every item starts with
COUNT_SCALE = 5.0  # brings the logarithm of a count to about one
HUNDREDS = 100.0


def _count(name: str, entity: Entity) -> DenseFeature:
    return DenseFeature(name=name, entity=entity, scale=COUNT_SCALE, transform="log1p")


def _by_item(past: Sequences, events: NDArray[np.bool_] | slice = slice(None)) -> Ints:
    """(items + 1,) how many of the events each item has."""
    return np.bincount(past.items[events], minlength=past.n_items + 1)


def _recent(past: Sequences) -> Ints:
    return _by_item(past, past.times > np.quantile(past.times, RECENT))


def _mean_rating(past: Sequences) -> NDArray[np.float64]:
    """In hundredths, as if each item had `PRIOR` average ratings more."""
    total = np.bincount(past.items, weights=past.ratings, minlength=past.n_items + 1)
    mean: NDArray[np.float64] = (total + PRIOR * past.ratings.mean()) / (_by_item(past) + PRIOR)
    return np.rint(HUNDREDS * mean)


# In the order of the model's columns. Item counts grow with the events they are made of: of 60 % of the events they are
# about log(1 / 0.6) lower than of all.
STATISTICS: Final[tuple[UserStatistic | ItemStatistic, ...]] = (
    UserStatistic(_count(Columns.N_RATINGS, "user"), lambda events, users, counts: counts),
    ItemStatistic(_count("item_ratings", "item"), _by_item),
    ItemStatistic(_count("item_likes", "item"), lambda past: _by_item(past, past.liked)),
    ItemStatistic(_count("item_recent", "item"), _recent),
    ItemStatistic(DenseFeature(name="item_mean_rating_x100", entity="item", scale=HUNDREDS), _mean_rating),
)

CROSSED: Final = (Columns.GENDER, Columns.AGE)  # profile fields that the ranker crosses with items


def list_spec(inputs: Inputs, recipe: Recipe, ranker: ListsRecipe) -> FeatureSpec:
    """Item code and crossed fields; statistics and numbers; fusion's columns; history.

    Item codes are those of ``inputs.data``.
    """
    return FeatureSpec(
        one_hot=(
            one_hot(Columns.ITEM, "item", inputs.data.itemids.tolist()),
            *(feature for feature in inputs.profile if feature.name in inputs.dataset.crossed),
        ),
        multi_hot=(),
        dense=(
            *(statistic.column for statistic in STATISTICS),
            *(
                DenseFeature(name=number_column(number.column), entity="item", scale=number.scale)
                for number in inputs.dataset.numbers
            ),
        ),
        genres=inputs.genre_names,
        candidate=candidate_columns([channel.name for channel in recipe.recall.channels]),
        history=HistoryFeature(length=ranker.history),
    )


def number_column(column: str) -> str:
    """Column of an item's number in the feature store: ``year`` -> ``item_year``."""
    return f"item_{column}"


def user_columns() -> list[str]:
    """Names of the users' statistics, in the order of `user_statistics_after`."""
    return [each.column.name for each in STATISTICS if isinstance(each, UserStatistic)]


def user_statistics_after(events: Sequences, users: Ints, counts: Ints) -> Ints:
    """(m,) users and counts -> (m, user statistics) as they stand after each user's first so many events."""
    columns = [each.after(events, users, counts) for each in STATISTICS if isinstance(each, UserStatistic)]
    return np.stack(columns, axis=1).astype(np.int64) if columns else np.empty((len(users), 0), np.int64)


def user_statistics(past: Sequences, users: pd.DataFrame) -> pd.DataFrame:
    """``users`` (userid and profile), a row for each of the past's, with the statistics at its end.

    Whole numbers are int64, as Feast keeps them.
    """
    values = user_statistics_after(past, np.arange(past.n_users), past.lengths)
    table = users.assign(**dict(zip(user_columns(), values.T, strict=True)))
    return table.astype(dict.fromkeys(table.select_dtypes("number").columns.drop(Columns.USER), "int64"))


def item_statistics(past: Sequences, inputs: Inputs) -> pd.DataFrame:
    """A row an item: itemid, the statistics at the end of the past, the numbers of the data set."""
    statistics = [each for each in STATISTICS if isinstance(each, ItemStatistic)]
    table = {each.column.name: each.of(past)[1:].astype("int64") for each in statistics}
    numbers = {
        number_column(number.column): number.stored(values[1:])
        for number, values in zip(inputs.dataset.numbers, inputs.numbers.T, strict=True)
    }
    return pd.DataFrame({Columns.ITEM: past.itemids, **table, **numbers})
