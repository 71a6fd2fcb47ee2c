"""Statistics of users and items, counted over events: inputs of the ranker beyond attributes.

A statistic is one entry of `STATISTICS`, or of the entry points ``recsys.statistics``: these count only where a recipe
names them. The `FeatureSpec`, the training lists, Feast, Triton and the server follow from it;
``offline_to_online/recount.py`` counts it in another way, to check.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import fusion, plugins, recipes
from data_exchange_center.columns import Columns, Entity
from data_exchange_center.features import (
    DenseFeature,
    FeatureSpec,
    HistoryFeature,
    NumberFeature,
    one_hot,
)
from offline.data.sequences import Bools, Inputs, Ints, Sequences
from offline.data.terms import whole_numbers

RECENT: Final = 0.8  # quantile of all times after which an event is recent
PRIOR: Final = 10  # average ratings added to every item's own: shrinks the mean rating
COUNT_SCALE: Final = 5.0  # brings the logarithm of a count to about one
HUNDREDS: Final = 100.0
# column of an item's number in the feature store: ``year`` -> ``item_year``
number_column: Final = "item_{}".format


@dataclass(frozen=True)
class UserStatistic:
    """A whole number about each user, known at every moment of the user's past."""

    column: NumberFeature  # of the user
    # events, users (m,), counts (m,) -> (m,) what stores hold after the first ``counts`` events of each user; it must
    # not read later ones
    after: Callable[[Sequences, Ints, Ints], Ints]
    # `offline_to_online.recount.ServedRatings` -> the statistic, counted in another way; None: it is in `RECOUNTS`
    recount: Callable[[Any], pd.Series] | None = None


@dataclass(frozen=True)
class ItemStatistic:
    """A whole number about each item at the end of a past."""

    column: NumberFeature  # of the item
    # events -> (items + 1,); row 0, padding, is not read
    counted: Callable[[Sequences], NDArray[np.generic]]
    recount: Callable[[Any], pd.Series] | None = None  # as of `UserStatistic`


def _ratings(past: Sequences) -> Ints:
    return _by_item(past, np.ones_like(past.liked))


def _likes(past: Sequences) -> Ints:
    return _by_item(past, past.liked)


def _recent(past: Sequences) -> Ints:
    return _by_item(past, past.times > np.quantile(past.times, RECENT))


def _by_item(past: Sequences, events: Bools) -> Ints:
    """(items + 1,) how many of the events each item has."""
    return np.bincount(past.items[events], minlength=past.n_items + 1)


def _mean_rating(past: Sequences) -> NDArray[np.float64]:
    """Mean ratings in hundredths, as if each item had `PRIOR` average ratings more."""
    total = np.bincount(past.items, past.ratings, past.n_items + 1)
    mean: NDArray[np.float64] = (total + PRIOR * past.ratings.mean()) / (
        _ratings(past) + PRIOR
    )
    return np.rint(HUNDREDS * mean)


def _count(name: str, entity: Entity) -> DenseFeature:
    return DenseFeature(name=name, entity=entity, scale=COUNT_SCALE, transform="log1p")


# In the order of the model's columns. Log counts over 60 % of the events, which rankers train with, are about
# log(1 / 0.6) lower than those over all events, which are served.
STATISTICS: Final[tuple[UserStatistic | ItemStatistic, ...]] = (
    UserStatistic(
        _count(Columns.N_RATINGS, "user"), lambda events, users, counts: counts
    ),
    ItemStatistic(_count("item_ratings", "item"), _ratings),
    ItemStatistic(_count("item_likes", "item"), _likes),
    ItemStatistic(_count("item_recent", "item"), _recent),
    ItemStatistic(
        DenseFeature(name="item_mean_rating_x100", entity="item", scale=HUNDREDS),
        _mean_rating,
    ),
)


def statistics(more: Sequence[str]) -> tuple[UserStatistic | ItemStatistic, ...]:
    """Statistics of this project, then ``more`` of other packages: those that the recipe names.

    Raises PluginError for one that no package has.
    """
    return (*STATISTICS, *(plugins.load(plugins.STATISTICS, name) for name in more))


def list_spec(
    inputs: Inputs, recipe: recipes.Recipe, ranker: recipes.ListsRecipe
) -> FeatureSpec:
    """Columns of a ranker of lists: item code and crossed fields; statistics and numbers; fusion's columns; history."""
    dataset = inputs.dataset
    item = one_hot(Columns.ITEM, "item", inputs.data.item_numbers.tolist())
    crossed = [each for each in inputs.profile if each.name in dataset.crossed]
    counted = [statistic.column for statistic in statistics(ranker.statistics)]
    numbers = [
        DenseFeature(name=number_column(each.column), entity="item", scale=each.scale)
        for each in dataset.numbers
    ]
    channels = [channel.name for channel in recipe.recall.channels]
    return FeatureSpec(
        one_hot=(item, *crossed),
        multi_hot=(),
        dense=(*counted, *numbers),
        genres=inputs.genre_names,
        candidate=fusion.candidate_columns(channels),
        history=HistoryFeature(length=ranker.history),
    )


def of_users(more: Sequence[str]) -> list[UserStatistic]:
    """The users' statistics, in the order of their columns; ``more``: as in `statistics`."""
    return [each for each in statistics(more) if isinstance(each, UserStatistic)]


def user_statistics_after(
    events: Sequences, users: Ints, counts: Ints, more: Sequence[str]
) -> Ints:
    """(m,) users and counts -> (m, `of_users`) as they stand after each user's first ``counts`` events."""
    columns = [each.after(events, users, counts) for each in of_users(more)]
    return np.stack(columns, axis=1).astype(np.int64)


def user_statistics(
    past: Sequences, users: pd.DataFrame, more: Sequence[str]
) -> pd.DataFrame:
    """``users`` (userid and profile), a row for each of the past's, with the statistics at its end."""
    values = user_statistics_after(past, np.arange(past.n_users), past.lengths, more)
    columns = [each.column.name for each in of_users(more)]
    return whole_numbers(users.assign(**dict(zip(columns, values.T, strict=True))))


def item_statistics(
    past: Sequences, inputs: Inputs, more: Sequence[str]
) -> pd.DataFrame:
    """A row an item: itemid, the statistics at the end of the past, the numbers of the data set."""
    table: dict[str, NDArray[Any]] = {Columns.ITEM: past.item_numbers}
    for each in statistics(more):
        if isinstance(each, ItemStatistic):
            table[each.column.name] = each.counted(past)[1:].astype("int64")
    for number, values in zip(inputs.dataset.numbers, inputs.numbers.T, strict=True):
        table[number_column(number.column)] = number.stored(values[1:])
    return pd.DataFrame(table)
