"""Recall's part of a synthetic release: random channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.channels import Channel, ChannelSet
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.recipes import DEFAULT, SOURCE
from tests.datasets import STARS
from tests.synthetic_world import DIM, World

PROFILE_READERS = ("tower",)  # kinds of channels that read the profile


def write_source_channels(folder: Path, world: World) -> None:
    """Stored vectors of users and items, and no channel that makes them."""
    (recipe,) = SOURCE.recall.channels
    field, random = vector_of(recipe.name), world.random
    factors = random.normal(size=(len(world.itemids), DIM - 1))
    lengths = np.linalg.norm(factors, axis=1)
    filled = np.hstack([factors, np.sqrt(lengths.max() ** 2 - lengths**2)[:, None]])
    users = np.hstack([random.normal(size=(len(world.userids), DIM - 1)), np.zeros((len(world.userids), 1))])
    _write_items(folder, world, {field: (filled, world.trained)})
    artifacts.USER_VECTORS.write(folder, pd.DataFrame({Columns.USER: world.userids, field: list(users)}))
    artifacts.CHANNELS.write(folder, ChannelSet(world.itemids, ()).pack())
    artifacts.RECALL_REPORT.write(folder, {})


def write_default_channels(folder: Path, world: World) -> None:
    """A random channel for each of the recipe's, with tables of the shapes that its kind has."""
    cardinalities = [1 + world.people[name].nunique() for name in STARS.profile]
    channels = ChannelSet(
        world.itemids,
        tuple(
            _channel(
                world, channel.name, cardinalities if channel.kind in PROFILE_READERS else [], DEFAULT.data.history
            )
            for channel in DEFAULT.recall.channels
        ),
    )
    vectors = {
        vector_of(channel.name): (channel.item_vectors()[1:], channel.trained[1:]) for channel in channels.channels
    }
    _write_items(folder, world, vectors)
    artifacts.USER_VECTORS.write(folder, pd.DataFrame({Columns.USER: world.userids}))
    artifacts.CHANNELS.write(folder, channels.pack())
    artifacts.RECALL_REPORT.write(folder, {})


def _channel(world: World, name: str, cardinalities: list[int], lags: int) -> Channel:
    random, rows = world.random, len(world.itemids) + 1

    def table(*shape: int) -> NDArray[np.float32]:
        return random.normal(scale=0.5, size=shape).astype(np.float32)

    history, profile = table(2, rows, DIM), tuple(table(n, DIM) for n in cardinalities)
    rating_weight = random.uniform(0.2, 1.2, size=(2, 2, STARS.rating_codes)).astype(np.float32)
    history[:, 0], rating_weight[:, :, 0] = 0, 0
    for each in profile:
        each[0] = 0
    return Channel(
        name=name,
        rows=history,
        lag=random.uniform(0.1, 1.0, size=(2, 2, lags)).astype(np.float32),
        rating_weight=rating_weight,
        base=table(2, DIM),
        profile=profile,
        items=table(rows, DIM),
        bias=table(rows),
        trained=np.concatenate([[False], world.trained]),
    )


def _write_items(
    folder: Path, world: World, vectors: Mapping[str, tuple[NDArray[np.floating], NDArray[np.bool_]]]
) -> None:
    """``vectors``: field -> (items, dim) and (items,) whether there is one."""
    columns = {
        field: [vector if there else None for vector, there in zip(rows, trained, strict=True)]
        for field, (rows, trained) in vectors.items()
    }
    artifacts.ITEM_VECTORS.write(folder, pd.DataFrame({Columns.ITEM: world.itemids, **columns}))
