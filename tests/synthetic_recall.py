"""Recall's part of a synthetic release: random channels of a recipe's forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.channels import Channel, HistorySum, StoredVectors
from data_exchange_center.recipes import ChannelRecipe, Recipe
from offline.data.sequences import Inputs
from offline.models.kinds import channel_set, fit_channel, vector_tables
from tests.synthetic_world import DIM, World


def write_channels(folder: Path, world: World, inputs: Inputs, recipe: Recipe) -> None:
    """Everything that the step of the vectors writes."""
    past = inputs.data
    channels = [made_up(channel, world, inputs, recipe) for channel in recipe.recall.channels]
    user_vectors, item_vectors = vector_tables(channels, past)
    artifacts.USER_VECTORS.write(folder, user_vectors)
    artifacts.ITEM_VECTORS.write(folder, item_vectors)
    artifacts.CHANNELS.write(folder, channel_set(channels, past).pack())
    artifacts.RECALL_REPORT.write(folder, {})


def made_up(channel: ChannelRecipe, world: World, inputs: Inputs, recipe: Recipe) -> Channel:
    """Random tables in the shapes that the channel's form has; a channel of a form of its own is fitted."""
    if channel.kind in ("tower", "ease"):
        return _history_sum(channel.name, world, inputs, recipe.data.history)
    if channel.kind == "fm":
        return _stored_vectors(channel.name, world)
    return fit_channel(channel, inputs.data, inputs, recipe.data).channel


def _history_sum(name: str, world: World, inputs: Inputs, lags: int) -> HistorySum:
    random, rows = world.random, len(world.itemids) + 1

    def table(*shape: int) -> NDArray[np.float32]:
        return random.normal(scale=0.5, size=shape).astype(np.float32)

    history, profile = table(2, rows, DIM), tuple(table(field.cardinality, DIM) for field in inputs.profile)
    rating_weight = random.uniform(0.2, 1.2, size=(2, 2, inputs.dataset.rating_codes)).astype(np.float32)
    history[:, 0], rating_weight[:, :, 0] = 0, 0
    for each in profile:
        each[0] = 0
    return HistorySum(
        name=name,
        rows=history,
        lag=random.uniform(0.1, 1.0, size=(2, 2, lags)).astype(np.float32),
        rating_weight=rating_weight,
        base=table(2, DIM),
        profile=profile,
        items=table(rows, DIM),
        bias=table(rows),
        trained=_trained(world),
    )


def _stored_vectors(name: str, world: World) -> StoredVectors:
    """Items of one length, as the check of an index wants them."""
    random = world.random
    factors = random.normal(size=(len(world.itemids) + 1, DIM - 1))
    lengths = np.linalg.norm(factors, axis=1)
    items = np.hstack([factors, np.sqrt(lengths.max() ** 2 - lengths**2)[:, None]])
    users = np.hstack([random.normal(size=(len(world.userids), DIM - 1)), np.zeros((len(world.userids), 1))])
    return StoredVectors(name, users.astype(np.float32), items.astype(np.float32), _trained(world))


def _trained(world: World) -> NDArray[np.bool_]:
    return np.concatenate([[False], world.trained])
