"""The list ranker's frozen tables, fitted on the past: item similarities and crossed statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel
from offline.data.sequences import Sequences

Float32 = NDArray[np.float32]
Factors = tuple[Float32, Float32]

YEAR_CENTRES = np.arange(1920, 2001, 8)
YEAR_WIDTH = 6.0


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


def similarities(channels: Sequence[Channel], genres: Float32, years: NDArray[np.int64]) -> tuple[Factors, ...]:
    """Factor pairs: every history field of every channel, common genres (cosine), nearness of release years.

    ``genres``: (items + 1, genres) 0/1; ``years``: (items + 1,), 0 unknown.
    """
    learned = [(rows, channel.items) for channel in channels for rows in channel.rows]
    genre = _unit(genres)
    year = np.exp(-(((years[:, None] - YEAR_CENTRES) / YEAR_WIDTH) ** 2)) * (years[:, None] > 0)
    return (*learned, (genre, genre), (_unit(year), _unit(year)))


def _unit(rows: NDArray[np.floating]) -> Float32:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32 = np.divide(rows, norm, out=np.zeros(rows.shape), where=norm > 0).astype(np.float32)
    return unit
