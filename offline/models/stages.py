"""Both stages of a recipe: all its channels, the lists that they make, and the ranker that learns from these lists.

The numbered steps call the parts one by one, with files between them; `fit_stages` does the same in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from data_exchange_center.channels import Channel, ChannelSet, StoredVectors, VectorChannel
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.recipes import ListRankerRecipe, ListsRecipe, Recipe
from data_exchange_center.steps import StepError
from offline.data.lists import Lists, ListsConfig, StoredFeatures
from offline.data.sequences import Inputs, Sequences
from offline.data.statistics import list_spec
from offline.models.kinds import FittedChannel, ListExamples, fit_channel, fit_ranker

Float32 = NDArray[np.float32]


# --- Recall


def fit_channels(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[FittedChannel, ...]:
    """All channels of the recipe, in its order. ``past``: events of the users and items of ``inputs``."""
    return tuple(fit_channel(channel, past, inputs, recipe.data) for channel in recipe.recall.channels)


def channels_of(fitted: Sequence[FittedChannel]) -> tuple[Channel, ...]:
    """Served forms of fitted channels."""
    return tuple(each.channel for each in fitted)


def channel_set(channels: Sequence[Channel], past: Sequences) -> ChannelSet:
    """Channels that compute something at a request: all but those with a stored vector for each user."""
    return ChannelSet(past.itemids, tuple(each for each in channels if not isinstance(each, StoredVectors)))


def user_vectors(channels: Sequence[Channel], past: Sequences) -> pd.DataFrame:
    """`artifacts.USER_VECTORS`: every user; null where a channel was not trained on the user."""
    stored = {
        vector_of(each.name): _rows(each.users, np.isfinite(each.users[:, 0]))
        for each in channels
        if isinstance(each, StoredVectors)
    }
    return pd.DataFrame({Columns.USER: past.userids, **stored})


def item_vectors(channels: Sequence[Channel], past: Sequences) -> pd.DataFrame:
    """`artifacts.ITEM_VECTORS`: every item; null where a channel was not trained on the item."""
    columns = {
        vector_of(each.name): _rows(each.item_vectors()[1:], each.trained[1:])
        for each in channels
        if isinstance(each, VectorChannel)
    }
    return pd.DataFrame({Columns.ITEM: past.itemids, **columns})


def _rows(vectors: Float32, there: NDArray[np.bool_]) -> list[Float32 | None]:
    return [row if known else None for row, known in zip(vectors, there, strict=True)]


# --- Ranking of lists


@dataclass(frozen=True, eq=False)
class Stages:
    """Fitted channels and ranker, and the ranker's features of users and items.

    `training.ranked` orders the lists of `data.lists.recall_lists` by them.
    """

    channels: tuple[Channel, ...]
    ranker: nn.Module
    stored: StoredFeatures
    losses: Sequence[float]  # of the ranker, by epoch


def fit_stages(past: Sequences, inputs: Inputs, recipe: Recipe) -> Stages:
    """Everything fitted on ``past``, as the steps do it. The recipe's ranker is trained on lists."""
    ranker = ranker_of_lists(recipe)
    teachers, lists = training_lists(past, inputs, recipe)
    channels = channels_of(fit_channels(past, inputs, recipe))
    spec = list_spec(inputs, recipe, ranker)
    fitted = fit_ranker(ranker, ListExamples(past, inputs, recipe, spec, teachers, channels, lists))
    losses = [epoch["loss"] for epoch in fitted.report["epochs"]]
    return Stages(channels, fitted.network, StoredFeatures.of(past, inputs, spec, recipe), losses)


def ranker_of_lists(recipe: Recipe) -> ListsRecipe:
    """The recipe's ranker. Raises StepError when it is not trained on lists."""
    if not isinstance(recipe.ranker, ListsRecipe):
        raise StepError(f"recipe {recipe.name!r}: a ranker of kind {recipe.ranker.kind!r} is not trained on lists.")
    return recipe.ranker


def list_recipe(recipe: Recipe) -> ListRankerRecipe:
    """The recipe's ranker, where it is the `ListRanker`, whose parts are taken out one by one; else a StepError."""
    ranker = ranker_of_lists(recipe)
    if not isinstance(ranker, ListRankerRecipe):
        raise StepError(f"recipe {recipe.name!r}: a ranker of kind {ranker.kind!r} has other parts.")
    return ranker


def training_lists(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[tuple[Channel, ...], Lists]:
    """Teachers, and lists that they recall at requests later than anything they know.

    Raises StepError when no list holds anything liked.
    """
    teachers = fit_teachers(past, inputs, recipe)
    return teachers, lists_of(teachers, past, inputs, recipe)


def fit_teachers(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[Channel, ...]:
    """The recipe's channels fitted on the first part of each user's past, so none of the ranker's targets was in the
    data that its inputs were fitted on."""
    return channels_of(fit_channels(past.earlier(ranker_of_lists(recipe).past), inputs, recipe))


def lists_of(teachers: Sequence[Channel], past: Sequences, inputs: Inputs, recipe: Recipe) -> Lists:
    """Recall the teachers' lists at the requests. Raises StepError when no list holds anything liked."""
    return lists_config(recipe).recalled(past, inputs.profiles, teachers)


def lists_config(recipe: Recipe) -> ListsConfig:
    """Settings of the lists that the recipe's ranker is trained on."""
    return ListsConfig.of(recipe, ranker_of_lists(recipe))
