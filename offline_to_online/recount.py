"""What the ratings say of users and items, counted again, by code other than the offline steps'.

So a mistake in the artifacts themselves, such as a wrong window, is found by the check of offline against online, too.
Events that are held out for evaluation are not used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_exchange_center import (
    artifacts,
    features,
    history,
    plugins,
    recipes,
    release_parts,
)
from data_exchange_center.columns import Columns, Entity, Split
from data_exchange_center.steps import CheckError
from offline.data import sequences, statistics, terms
from offline_to_online.parity import OfflineTruth


@dataclass(frozen=True)
class ServedRatings:
    """Ratings that statistics are counted from, and the users or items they are counted for."""

    ratings: pd.DataFrame  # all but the held-out rows, of the users or of everybody
    ids: pd.Index  # numbers of users or items

    def size(self, by: str, rows: pd.Series | None = None) -> pd.Series:
        """Number of ratings for each id in the column ``by``, of all or (a mask) some ``rows``; 0 where none."""
        ratings = self.ratings if rows is None else self.ratings[rows]
        return ratings.groupby(by).size().reindex(self.ids, fill_value=0)


def _recent(served: ServedRatings) -> pd.Series:
    times = served.ratings[Columns.TIMESTAMP]
    return served.size(Columns.ITEM, times > np.quantile(times, statistics.RECENT))


def _mean_rating(served: ServedRatings) -> pd.Series:
    ratings = served.ratings
    prior = statistics.PRIOR
    total = ratings.groupby(Columns.ITEM)[Columns.RATING].sum()
    total = total.reindex(served.ids, fill_value=0)
    total += prior * ratings[Columns.RATING].mean()
    mean = total / (served.size(Columns.ITEM) + prior)
    return (statistics.HUNDREDS * mean).round().astype(np.int64)


# Every statistic of `offline.data.statistics.STATISTICS` by its column's name, of each of `ServedRatings.ids`; those of
# other packages bring their own ``recount``.
RECOUNTS: dict[str, Callable[[ServedRatings], pd.Series]] = {
    "n_ratings": lambda served: served.size(Columns.USER),
    "item_ratings": lambda served: served.size(Columns.ITEM),
    "item_likes": lambda served: served.size(
        Columns.ITEM, served.ratings[Columns.LABEL] == 1
    ),
    "item_recent": _recent,
    "item_mean_rating_x100": _mean_rating,
}


def recount(
    exchange_dir: Path,
    truth: OfflineTruth,
    recipe: recipes.DataRecipe,
    user_numbers: Sequence[int],
) -> OfflineTruth:
    """Recount these users' histories, profiles and seen items, and all statistics, from the ratings; vectors stay.

    Raises ArtifactError for a user without features, CheckError for a statistic that cannot be counted again.
    """
    users = truth.ranker.users
    items = truth.ranker.items
    if absent := sorted({*user_numbers} - {*users.index}):
        raise artifacts.USER_FEATURES.wrong(
            exchange_dir,
            f"user {truth.states[absent[0]].own_id!r}, who is known to recall, is not in it",
        )
    users = users.loc[list(user_numbers)]
    dataset = release_parts.read_dataset(exchange_dir)
    ratings = artifacts.RATINGS.read(exchange_dir)
    served = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    own = served[served[Columns.USER].isin(user_numbers)]
    # what is not counted by `RECOUNTS`: the items' numbers, the users' genres
    known = artifacts.ITEMS.read(exchange_dir).set_index(Columns.ITEM).loc[items.index]
    numbers = {
        statistics.number_column(each.column): each.stored(
            known[each.column].to_numpy()
        )
        for each in dataset.numbers
    }
    newest = own.groupby(Columns.USER).tail(recipe.window)
    item_terms = artifacts.ITEM_TERMS.read(exchange_dir).explode(Columns.GENRES)
    rated = ServedRatings(newest.merge(item_terms, on=Columns.ITEM), users.index)
    liked = rated.ratings[Columns.LABEL] == 1
    by_genre = {}
    for code, slug in enumerate(terms.slugs(truth.spec.genres), start=1):
        shown = rated.ratings[Columns.GENRES] == code
        by_genre[f"{terms.IMPRESSIONS}_{slug}"] = rated.size(Columns.USER, shown)
        by_genre[f"{terms.CLICKS}_{slug}"] = rated.size(Columns.USER, shown & liked)
    ranker = replace(
        truth.ranker,
        users=_counted_again(
            users, truth.spec, "user", ServedRatings(own, users.index), by_genre
        ),
        items=_counted_again(
            items, truth.spec, "item", ServedRatings(served, items.index), numbers
        ),
    )
    people = artifacts.USERS.read(exchange_dir)
    fields = [
        features.one_hot(name, "user", people[name].tolist())
        for name in dataset.profile
    ]
    codes = sequences.profile_codes(fields, people).astype(np.int32)
    profiles = dict(zip(people[Columns.USER].tolist(), codes, strict=True))
    columns = [Columns.ITEM, Columns.RATING, Columns.TIMESTAMP]
    states = {}
    for number in user_numbers:
        newest_first = own.loc[own[Columns.USER] == number, columns][::-1]
        events = history.History(*newest_first.to_numpy(np.int64).T)
        left_out = events.item_numbers[dataset.had(events.ratings)]
        states[number] = replace(
            truth.states[number],
            seen=np.unique(left_out).astype(np.int32),
            profile=profiles[number],
            history=events,
        )
    return replace(truth, ranker=ranker, states=states)


def _counted_again(
    frame: pd.DataFrame,
    spec: features.FeatureSpec,
    entity: Entity,
    served: ServedRatings,
    counted: Mapping[str, Any],
) -> pd.DataFrame:
    """``frame`` with an entity's dense features recounted: those in ``counted`` already, the others by `RECOUNTS`."""
    columns = {}
    for feature in spec.dense:
        name = feature.name
        if feature.entity == entity:
            columns[name] = counted[name] if name in counted else _again(name, served)
    return frame.assign(**columns)


def _again(name: str, served: ServedRatings) -> pd.Series:
    """Recount a statistic. Raises CheckError where nothing says how."""
    recounts = RECOUNTS.get(name)
    of_packages = plugins.find(plugins.STATISTICS)
    if recounts is None and name in of_packages:
        recounts = of_packages[name].load().recount
    if recounts is None:
        raise CheckError(
            f"feature {name!r} is counted in one place only, so nothing can be checked: say in RECOUNTS of "
            "offline_to_online/recount.py, or in the statistic's own recount, how it is counted again"
        )
    return recounts(served)
