"""What would make nonsense of a data set is said before anything is trained on it."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from data_exchange_center.as_of import happened
from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import Dataset
from data_exchange_center.recipes import Recipe
from data_exchange_center.steps import StepError

MOST_HELD_OUT: Final = 1 / 3  # of all events
MOST_WITHOUT_PAST: Final = 1 / 2  # of all users with events
FEWEST_WITH_PAST: Final = 2
REMEDY: Final = "give the data set a smaller holdout ([holdout] in dataset.toml)"


def expect_sense(ratings: pd.DataFrame, dataset: Dataset, recipe: Recipe) -> None:
    """Raise StepError, with what to do, where training and evaluation on these rows would mean nothing.

    ``ratings``: labelled and split.
    """
    held_out = ratings[Columns.SPLIT] == Split.HOLDOUT
    if held_out.mean() > MOST_HELD_OUT:
        raise StepError(
            f"{held_out.mean():.0%} of all events would be held out for evaluation, more than a third: {REMEDY}."
        )
    users, with_past = ratings[Columns.USER].nunique(), ratings.loc[~held_out, Columns.USER].nunique()
    cold = 1 - _known(ratings, held_out) / users
    if cold > MOST_WITHOUT_PAST:
        raise StepError(
            f"{cold:.0%} of {users:,} users have no event before the second of their first held-out one, more than "
            f"half: {REMEDY}, with at_least = 0 where most have a single event, or times of day where there are only "
            "dates."
        )
    if with_past < FEWEST_WITH_PAST:
        raise StepError(
            f"{with_past} of {users:,} users has an event that is not held out, and at least {FEWEST_WITH_PAST} are "
            f"needed to learn from: {REMEDY}."
        )
    if recipe.ranker.examples == "lists" and ratings.loc[~held_out, Columns.USER].value_counts().max() < 2:
        raise StepError(
            f"recipe {recipe.name!r} learns from what users did next, and none of {users:,} users has two events that "
            f"are not held out: {REMEDY}."
        )
    _expect_labels(ratings.loc[~held_out, Columns.LABEL], dataset, recipe)
    if not dataset.terms and "terms" in recipe.needs:
        raise StepError(
            f"recipe {recipe.name!r} needs items with a categorical or multi-valued attribute, and this data set has "
            "none: declare one in [items] of dataset.toml, or choose RECSYS_RECIPE=default."
        )


def _known(ratings: pd.DataFrame, held_out: pd.Series) -> int:
    """How many users have an event that the request of evaluation sees."""
    asked = ratings[held_out].groupby(Columns.USER)[Columns.TIMESTAMP].min()
    past = ratings[~held_out]
    times = past[Columns.USER].map(asked).fillna(np.inf).to_numpy()
    seen = happened(past[Columns.TIMESTAMP].to_numpy(), times)
    return int(past[Columns.USER][seen].nunique())


def _expect_labels(labels: pd.Series, dataset: Dataset, recipe: Recipe) -> None:
    liked = int(np.count_nonzero(labels))
    if not liked:
        raise StepError(
            f"none of {len(labels):,} events before the held-out ones is liked: is positive_above in dataset.toml too "
            f"high for the values {dataset.levels[0]:g} to {dataset.levels[-1]:g}?"
        )
    if liked == len(labels) and "dislikes" in recipe.needs:
        raise StepError(
            f"recipe {recipe.name!r} learns to tell liked events from others, and all {len(labels):,} of this data set "
            "are liked: declare the column of a value in [interactions] of dataset.toml, or choose "
            "RECSYS_RECIPE=default."
        )
