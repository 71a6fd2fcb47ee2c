"""Recall: every channel of a recipe, fitted, and the tables that a release is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.channels.channel_set import ChannelSet
from data_exchange_center.channels.contract import Channel, ChannelRecipe, VectorChannel
from data_exchange_center.channels.stored_vectors import StoredVectors
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.recipes import DataRecipe, Recipe
from offline.data.sequences import Inputs, Sequences
from offline.training.distributed import workers
from offline.training.fit import curves

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FittedChannel:
    """A fitted channel.

    Attributes:
        recipe: what it was fitted by.
        channel: what is served of it.
        report: configuration, curves and metrics, for JSON.
    """

    recipe: ChannelRecipe
    channel: Channel
    report: Mapping[str, Any]

    def __str__(self) -> str:
        if not isinstance(self.channel, VectorChannel):
            return "scores the items when a request comes"
        trained, dim = self.channel.trained[1:], self.channel.item_vectors().shape[1]
        return f"{trained.sum():,} of {len(trained):,} items, {dim} dimensions"


def fit_channels(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[FittedChannel, ...]:
    """All channels of the recipe, in its order. ``past``: events of the users and items of ``inputs``.

    Workers but the first have those alone that all of them fit together.
    """
    channels = [channel for channel in recipe.recall.channels if channel.together or workers.current().first]
    return tuple(fit_channel(channel, past, inputs, recipe.data) for channel in channels)


def fit_channel(recipe: ChannelRecipe, past: Sequences, inputs: Inputs, data: DataRecipe) -> FittedChannel:
    """One channel, as its recipe says."""
    fitted = recipe.fit(past, inputs, data)
    report = {"recipe": recipe.model_dump(mode="json"), **curves([]), **fitted.report}
    return FittedChannel(recipe, fitted.channel, report)


def channels_of(fitted: Sequence[FittedChannel]) -> tuple[Channel, ...]:
    """What is served of them."""
    return tuple(each.channel for each in fitted)


def channel_set(channels: Sequence[Channel], past: Sequences) -> ChannelSet:
    """Those that compute something when a request comes: all but the vectors that are stored by user."""
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
