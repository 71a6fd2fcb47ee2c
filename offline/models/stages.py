"""All channels of a recipe, as they are stored, and the lists that a ranker learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.channels import Channel, ChannelSet, StoredVectors, VectorChannel
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.recipes import ListsRecipe, Recipe
from data_exchange_center.steps import StepError
from offline.data.lists import ListsConfig
from offline.data.sequences import Inputs, Sequences
from offline.models.kinds import Fitted, fit_channel

Float32 = NDArray[np.float32]


# --- Recall


def fit_channels(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[Fitted, ...]:
    """All channels of the recipe, in its order. ``past``: events of the users and items of ``inputs``."""
    return tuple(fit_channel(channel, past, inputs, recipe.data) for channel in recipe.recall.channels)


def channels_of(fitted: Sequence[Fitted]) -> tuple[Channel, ...]:
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


# --- The training lists of the ranker


def ranker_of_lists(recipe: Recipe) -> ListsRecipe:
    """The recipe's ranker. Raises StepError when it is not trained on lists."""
    if not isinstance(recipe.ranker, ListsRecipe):
        raise StepError(f"recipe {recipe.name!r}: a ranker of kind {recipe.ranker.kind!r} is not trained on lists.")
    return recipe.ranker


def fit_teachers(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[Channel, ...]:
    """The recipe's channels fitted on the first part of each user's past, so none of the ranker's targets was in the
    data that its inputs were fitted on."""
    return channels_of(fit_channels(past.earlier(ranker_of_lists(recipe).past), inputs, recipe))


def lists_config(recipe: Recipe) -> ListsConfig:
    """Settings of the lists that the recipe's ranker is trained on."""
    return ListsConfig.of(recipe, ranker_of_lists(recipe))
