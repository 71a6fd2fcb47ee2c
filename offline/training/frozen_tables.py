"""The list ranker's frozen tables, fitted on the past: item similarities and crossed statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels.contract import Channel
from data_exchange_center.channels.history_sum import HistorySum
from data_exchange_center.dataset import ItemNumber
from offline.data.sequences import Inputs, Sequences

Float32 = NDArray[np.float32]
Factors = tuple[Float32, Float32]


def crossed_log_odds(data: Sequences, codes: NDArray[np.int64], cardinality: int, prior: float = 5.0) -> Float32:
    """(users,) codes of a user field -> (cardinality, items + 1): log of how much more often a group likes an item.

    Relative to all users; ``prior`` likes, at the average of all, are added to each item.
    """
    likes = np.zeros((cardinality, data.n_items + 1))
    np.add.at(likes, (codes[data.users], data.items), data.liked)
    share = likes.sum(axis=1, keepdims=True) / max(likes.sum(), 1)
    share = np.maximum(share, 1e-9)
    odds: Float32 = np.log((likes + prior * share) / ((likes.sum(axis=0) + prior) * share)).astype(np.float32)
    return odds


def similarities(channels: Sequence[Channel], inputs: Inputs) -> tuple[Factors, ...]:
    """Factor pairs: history fields of the channels that have some, common genres (cosine), nearness of each number."""
    sums = [channel for channel in channels if isinstance(channel, HistorySum)]
    learned = [(rows, channel.items) for channel in sums for rows in channel.rows]
    genre = [_unit(inputs.genres)] if inputs.genre_names else []
    near = [nearness(values, number) for values, number in zip(inputs.numbers.T, inputs.dataset.numbers, strict=True)]
    return (*learned, *((table, table) for table in (*genre, *near)))


def nearness(values: NDArray[np.float64], number: ItemNumber) -> Float32:
    """(items + 1,) values, NaN unknown -> (items + 1, centres) rows whose inner product is 1 for the same value and
    falls with the distance; 0 for an unknown one."""
    known = ~np.isnan(values)[:, None]
    distance = (np.where(known, values[:, None], 0) - np.array(number.centres)) / number.width
    return _unit(np.exp(-(distance**2)) * known)


def _unit(rows: NDArray[np.floating]) -> Float32:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32 = np.divide(rows, norm, out=np.zeros(rows.shape), where=norm > 0).astype(np.float32)
    return unit
