"""Statistics of users and items, counted over events: inputs of the ranker beyond attributes.

A statistic is one entry of `STATISTICS`, or of the entry points ``recsys.statistics``: these count only where a recipe
names them. The `FeatureSpec`, the training lists, Feast, Triton and the server follow from it;
``offline_to_online/parity.py`` counts it in another way, to check.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import fusion, plugins, recipes
from data_exchange_center.columns import Columns, Entity
from data_exchange_center.dataset import Dataset
from data_exchange_center.features import (
    DenseFeature,
    FeatureSpec,
    HistoryFeature,
    NumberFeature,
    one_hot,
)
from offline.data.sequences import Inputs, Ints, Sequences
from offline.data.terms import whole_numbers

RECENT: Final = 0.8  # quantile of all times after which an event is recent


@dataclass(frozen=True)
class Overall:
    """Facts about all events of a past, known before items are counted."""

    recent_after: float  # seconds; later events are recent
    mean_rating: float  # of all events

    @classmethod
    def of(cls, past: Sequences) -> Self:
        return cls(float(np.quantile(past.times, RECENT)), float(past.ratings.mean()))


@dataclass(frozen=True)
class UserStatistic:
    """A whole number about each user, known at every moment of the user's past."""

    column: NumberFeature  # of the user
    # events, users (m,), counts (m,) -> (m,) what stores hold after the first ``counts`` events of each user; it must
    # not read later ones
    after: Callable[[Sequences, Ints, Ints], Ints]
    # `offline_to_online.parity.ServedRatings` -> the statistic, counted in another way; None: `parity.RECOUNTS` has it
    recount: Callable[[Any], pd.Series] | None = None


@dataclass(frozen=True)
class ItemStatistic:
    """A whole number about each item at the end of a past; users may be counted chunk by chunk."""

    column: NumberFeature  # of the item
    # events of some users, or of all; facts about all events -> (items + 1,) or (items + 1, k) whole numbers, whose row
    # 0 (padding) is not read
    counted: Callable[[Sequences, Overall], Ints]
    # (items + 1, k) of all users -> (items + 1,) the statistic
    finished: Callable[[Ints, Overall], NDArray[np.generic]] = lambda counts, overall: (
        counts[:, 0]
    )
    recount: Callable[[Any], pd.Series] | None = None  # as of `UserStatistic`


PRIOR = 10  # average ratings added to every item's own: shrinks the mean rating
COUNT_SCALE = 5.0  # brings the logarithm of a count to about one
HUNDREDS = 100.0
# column of an item's number in the feature store: ``year`` -> ``item_year``
number_column: Final = "item_{}".format


def _count(name: str, entity: Entity) -> DenseFeature:
    return DenseFeature(name=name, entity=entity, scale=COUNT_SCALE, transform="log1p")


def _by_item(past: Sequences, events: NDArray[np.bool_] | slice = slice(None)) -> Ints:
    """(items + 1,) how many of the events each item has."""
    return np.bincount(past.items[events], minlength=past.n_items + 1)


def _totals(past: Sequences, overall: Overall) -> Ints:
    """(items + 1, 2) the sum of each item's ratings, and how many they are."""
    total = np.bincount(past.items, weights=past.ratings, minlength=past.n_items + 1)
    return np.stack([total.astype(np.int64), _by_item(past)], axis=1)


def _mean_rating(totals: Ints, overall: Overall) -> NDArray[np.float64]:
    """Mean ratings in hundredths, as if each item had `PRIOR` average ratings more."""
    total, n = totals.T
    mean: NDArray[np.float64] = (total + PRIOR * overall.mean_rating) / (n + PRIOR)
    return np.rint(HUNDREDS * mean)


# In the order of the model's columns. Log counts over 60 % of the events, which rankers train with, are about
# log(1 / 0.6) lower than those over all events, which are served.
STATISTICS: Final[tuple[UserStatistic | ItemStatistic, ...]] = (
    UserStatistic(
        _count(Columns.N_RATINGS, "user"), lambda events, users, counts: counts
    ),
    ItemStatistic(_count("item_ratings", "item"), lambda past, overall: _by_item(past)),
    ItemStatistic(
        _count("item_likes", "item"), lambda past, overall: _by_item(past, past.liked)
    ),
    ItemStatistic(
        _count("item_recent", "item"),
        lambda past, overall: _by_item(past, past.times > overall.recent_after),
    ),
    ItemStatistic(
        DenseFeature(name="item_mean_rating_x100", entity="item", scale=HUNDREDS),
        _totals,
        finished=_mean_rating,
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
    numbers = (
        DenseFeature(
            name=number_column(number.column), entity="item", scale=number.scale
        )
        for number in inputs.dataset.numbers
    )
    return FeatureSpec(
        one_hot=(
            one_hot(Columns.ITEM, "item", inputs.data.item_numbers.tolist()),
            *(
                feature
                for feature in inputs.profile
                if feature.name in inputs.dataset.crossed
            ),
        ),
        multi_hot=(),
        dense=(
            *(statistic.column for statistic in statistics(ranker.statistics)),
            *numbers,
        ),
        genres=inputs.genre_names,
        candidate=fusion.candidate_columns(
            [channel.name for channel in recipe.recall.channels]
        ),
        history=HistoryFeature(length=ranker.history),
    )


def of_users(more: Sequence[str]) -> list[UserStatistic]:
    """The users' statistics, in the order of their columns; ``more``: as in `statistics`."""
    return [each for each in statistics(more) if isinstance(each, UserStatistic)]


def of_items(more: Sequence[str]) -> list[ItemStatistic]:
    """The items' statistics, likewise."""
    return [each for each in statistics(more) if isinstance(each, ItemStatistic)]


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
    overall, counting = Overall.of(past), of_items(more)
    counted = [
        each.counted(past, overall).reshape(past.n_items + 1, -1) for each in counting
    ]
    return item_table(
        past.item_numbers,
        counting,
        counted,
        overall,
        inputs.dataset,
        inputs.numbers[1:],
    )


def item_table(
    item_numbers: Ints,
    counting: Sequence[ItemStatistic],
    counted: Sequence[Ints],
    overall: Overall,
    dataset: Dataset,
    numbers: NDArray[np.float64],
) -> pd.DataFrame:
    """Make the table of all items.

    Args:
        counting: `of_items`.
        counted: (items + 1, k) counts of all users, for each of these.
        numbers: (items, k) values, NaN where unknown.
    """
    table = {
        each.column.name: each.finished(counts, overall)[1:].astype("int64")
        for each, counts in zip(counting, counted, strict=True)
    }
    known = {
        number_column(number.column): number.stored(values)
        for number, values in zip(dataset.numbers, numbers.T, strict=True)
    }
    return pd.DataFrame({Columns.ITEM: item_numbers, **table, **known})
