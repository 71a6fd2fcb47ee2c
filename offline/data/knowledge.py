"""What the ranker knows of items, fitted on the past: similarities, crossed and plain statistics."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel
from offline.data.sequences import Sequences

Float32 = NDArray[np.float32]
Factors = tuple[Float32, Float32]

YEAR_CENTRES = np.arange(1920, 2001, 8)
YEAR_WIDTH = 6.0
PRIOR = 10  # ratings of an average item that every item starts with
COUNT_SCALE = 5.0  # brings the logarithm of a count to about one


def release_year(title: str) -> int:
    """``Toy Story (1995)`` -> 1995; 0 where the title names none."""
    found = re.search(r"\((\d{4})\)\s*$", title)
    return int(found.group(1)) if found else 0


def item_columns(data: Sequences, years: NDArray[np.int64]) -> Float32:
    """(items + 1, 5) of the events in ``data``: log of ratings, of likes, of ratings in the newest fifth; mean rating
    (smoothed) and release year.

    Counts grow with the events they are made of: of 70 % of the events they are about log(1 / 0.7) lower than of all.
    """
    size = data.n_items + 1
    ratings = np.bincount(data.items, minlength=size)
    total = np.bincount(data.items, weights=data.ratings, minlength=size)
    newest = data.times > np.quantile(data.times, 0.8)
    counts = (
        ratings,
        np.bincount(data.items[data.liked], minlength=size),
        np.bincount(data.items[newest], minlength=size),
    )
    mean_rating = (total + PRIOR * data.ratings.mean()) / (ratings + PRIOR)
    columns = (*(np.log1p(count) / COUNT_SCALE for count in counts), mean_rating, years / 100)
    return np.stack(columns, axis=1).astype(np.float32)


def crossed_log_odds(data: Sequences, codes: NDArray[np.int64], cardinality: int, prior: float = 5.0) -> Float32:
    """(users,) codes of a user field -> (cardinality, items + 1) log of how much likelier the group likes an item."""
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


def crosses(data: Sequences, fields: NDArray[np.int64], cardinalities: Mapping[str, int]) -> dict[str, Float32]:
    """``fields``: (users, crossed fields) codes in the order of ``cardinalities``."""
    return {
        name: crossed_log_odds(data, column, cardinality)
        for column, (name, cardinality) in zip(fields.T, cardinalities.items(), strict=True)
    }


def _unit(rows: NDArray[np.floating]) -> Float32:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32 = np.divide(rows, norm, out=np.zeros(rows.shape), where=norm > 0).astype(np.float32)
    return unit
