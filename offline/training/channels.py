"""Recall: every channel of a recipe, fitted by its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.channels import Channel, ChannelSet, index_vectors, query_vectors
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.recipes import ChannelRecipe, DataRecipe, EaseRecipe, FMRecipe, Recipe, TowerRecipe
from offline.data.inputs import Inputs
from offline.data.sequences import Sequences
from offline.models.fm import FM
from offline.training.fit import curves, fit
from offline.training.item_item import ease_channel
from offline.training.rows import fm_data
from offline.training.tower import train_tower

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FittedChannel:
    """A fitted channel: its item vectors for the index, and its user vectors or how to make them.

    Attributes:
        recipe: what it was fitted by.
        items: (items + 1, dim) vectors by code.
        trained: (items + 1,) False for padding and for items that the channel was not trained on: they are not indexed.
        users: (users, dim) vectors to store, NaN for a user it was not trained on; None where histories make them.
        channel: how histories make user vectors; None where they are stored.
        report: configuration, curves and metrics, for JSON.
    """

    recipe: ChannelRecipe
    items: Float32
    trained: NDArray[np.bool_]
    users: Float32 | None
    channel: Channel | None
    report: Mapping[str, Any]


def fit_channels(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[FittedChannel, ...]:
    """All channels of the recipe, in its order. ``past``: events of the users and items of ``inputs``."""
    return tuple(fit_channel(channel, past, inputs, recipe.data) for channel in recipe.recall.channels)


def fit_channel(recipe: ChannelRecipe, past: Sequences, inputs: Inputs, data: DataRecipe) -> FittedChannel:
    """One channel, by its kind."""
    match recipe:
        case FMRecipe():
            return _fit_fm(recipe, past, data)
        case TowerRecipe():
            cardinalities = [feature.cardinality for feature in inputs.profile]
            tower, losses = train_tower(
                past, inputs.genres, inputs.profiles, cardinalities, inputs.dataset, recipe, data.history
            )
            rated = np.bincount(past.items, minlength=past.n_items + 1) > 0
            return _of_history(recipe, tower.channel(recipe.name, rated), losses)
        case EaseRecipe():
            return _of_history(recipe, ease_channel(past.seen(), recipe, data.history, inputs.dataset), [])


def _of_history(recipe: ChannelRecipe, channel: Channel, losses: Sequence[float]) -> FittedChannel:
    report = {"recipe": recipe.model_dump(mode="json"), **curves(losses)}
    return FittedChannel(recipe, channel.item_vectors(), channel.trained, None, channel, report)


def _fit_fm(recipe: FMRecipe, past: Sequences, data: DataRecipe) -> FittedChannel:
    """Rows 0 of the FM's tables are the unknown user and item: not exported."""
    rows = fm_data(past, data)
    fitted = fit(lambda: FM(rows.n_users, rows.n_items, recipe.dim), rows, recipe.train, "FM")
    model = fitted.model
    user_rows = query_vectors(model.user_factors()[1:].numpy())
    item_rows = index_vectors(model.item_factors()[1:].numpy(), model.item_bias()[1:].numpy())
    users = np.full((past.n_users, user_rows.shape[1]), np.nan, dtype=np.float32)
    items = np.zeros((past.n_items + 1, item_rows.shape[1]), dtype=np.float32)
    trained = np.zeros(past.n_items + 1, dtype=np.bool_)
    users[np.searchsorted(past.userids, rows.users)] = user_rows
    codes = np.searchsorted(past.itemids, rows.items) + 1
    items[codes], trained[codes] = item_rows, True
    report = {"recipe": recipe.model_dump(mode="json"), **fitted.report()}
    return FittedChannel(recipe, items, trained, users, None, report)


def history_channels(fitted: Sequence[FittedChannel]) -> tuple[Channel, ...]:
    """Those that make user vectors of the history."""
    return tuple(each.channel for each in fitted if each.channel is not None)


def channel_set(fitted: Sequence[FittedChannel], past: Sequences) -> ChannelSet:
    """What the server makes user vectors with."""
    return ChannelSet(past.itemids, history_channels(fitted))


def user_vectors(fitted: Sequence[FittedChannel], past: Sequences) -> pd.DataFrame:
    """`artifacts.USER_VECTORS`: every user; null where a channel was not trained on the user."""
    stored = {
        vector_of(each.recipe.name): _rows(each.users, np.isfinite(each.users[:, 0]))
        for each in fitted
        if each.users is not None
    }
    return pd.DataFrame({Columns.USER: past.userids, **stored})


def item_vectors(fitted: Sequence[FittedChannel], past: Sequences) -> pd.DataFrame:
    """`artifacts.ITEM_VECTORS`: every item; null where a channel was not trained on the item."""
    columns = {vector_of(each.recipe.name): _rows(each.items[1:], each.trained[1:]) for each in fitted}
    return pd.DataFrame({Columns.ITEM: past.itemids, **columns})


def user_state(past: Sequences, inputs: Inputs) -> pd.DataFrame:
    """`artifacts.USER_STATE`: every user's profile codes and events, newest first."""

    def lists(events: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [each[::-1] for each in np.split(events, past.starts[1:-1])]

    return pd.DataFrame(
        {
            Columns.USER: past.userids,
            Columns.PROFILE: list(inputs.profiles),
            Columns.ITEMS: lists(past.itemids[past.items - 1]),
            Columns.RATINGS: lists(past.ratings),
            Columns.TIMES: lists(past.times),
        }
    )


def _rows(vectors: Float32, there: NDArray[np.bool_]) -> list[Float32 | None]:
    return [row if known else None for row, known in zip(vectors, there, strict=True)]
