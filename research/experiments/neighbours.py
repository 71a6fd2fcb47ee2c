"""Item-item weights for rating prediction, and what a user's earlier ratings say about an item through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center.as_of import first_of_second
from offline.data.sequences import Ints, Sequences
from offline.models.ease import ease

Float32 = NDArray[np.float32]
Floats = NDArray[np.float64]

LIKES_L2 = 600.0
PRIOR = 5.0  # ratings of an average user, or item, that everyone starts with
SHRINK = 50.0  # common raters at which half of a similarity is believed
AMPLIFICATION = 2.5
RECENT_EVENTS = 8.0  # ratings after which a weight that decays has fallen to 1/e
LEAST_SIMILAR, LEAST_RECENT = 0.05, 0.02  # summed similarity at which half of a neighbours' mean is believed

COLUMNS = (
    "likes_of_liked",  # what the earlier liked items say by the regression on likes
    "likes_of_disliked",
    "similar_liked",  # summed similarity to the earlier liked items
    "similar_disliked",
    "neighbours",  # mean deviation of the earlier ratings, weighted by similarity
    "neighbours_recent",  # ... and by recency
    "recent",  # the same weighted by recency alone: the user's mood
    "user_offset",  # how the user rated the earlier items, above or below how others did
    "item_offset",  # how others rate the item, above or below their own mean
    "user_ratings",  # logarithms of counts
    "item_ratings",
)


@dataclass(frozen=True)
class Neighbours:
    """What is fitted.

    Attributes:
        overall: mean rating.
        item_offset: (items + 1,) mean of rating - its user's mean, shrunk to 0.
        item_ratings: (items + 1,) how many.
        likes: (items + 1, items + 1) weights of [liked, item], linear regression (EASE, Steck 2019).
        similar: (items + 1, items + 1) similarities, 0 or more.
    """

    overall: float
    item_offset: Floats
    item_ratings: Ints
    likes: Float32
    similar: Float32


def fit_neighbours(data: Sequences) -> Neighbours:
    """Weights of all ratings in ``data``."""
    size = data.n_items + 1
    user_mean = np.bincount(data.users, data.ratings, data.n_users) / np.maximum(data.lengths, 1)
    centred = data.ratings - user_mean[data.users]
    count = np.bincount(data.items, minlength=size)
    offset = np.bincount(data.items, centred, size) / (count + PRIOR)
    return Neighbours(
        overall=float(data.ratings.mean()),
        item_offset=offset,
        item_ratings=count,
        likes=ease(_matrix(data, data.liked), LIKES_L2),
        similar=similarities(_matrix(data, centred - offset[data.items])),
    )


def similarities(residuals: sp.csr_matrix) -> Float32:
    """(users, items + 1) deviations -> (items + 1, items + 1) positive correlations over common raters.

    Shrunk by the number of common raters n to n / (n + 50) of themselves (Koren 2008, section 2.2) and raised to a
    power that lets the closest speak (Breese et al. 1998, section 2.2.3, case amplification).
    """
    rated = residuals.copy()
    rated.data = np.ones_like(residuals.data)
    product = (residuals.T @ residuals).toarray()
    common = (rated.T @ rated).toarray()
    squares = (residuals.multiply(residuals).T @ rated).toarray()  # [i, j]: of i, over the raters of both
    norm = np.sqrt(squares * squares.T)
    correlation = np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
    np.fill_diagonal(correlation, 0)
    shrunk = np.maximum(correlation, 0) * common / (common + SHRINK)
    similar: Float32 = (shrunk**AMPLIFICATION).astype(np.float32)
    return similar


def neighbour_columns(
    fitted: Neighbours, items: Ints, ratings: NDArray[np.integer], liked: NDArray[np.bool_], times: Ints
) -> Float32:
    """(n, `COLUMNS`) of one user's n events, oldest first, each from the events of an earlier second."""
    order, known = np.arange(len(items)), first_of_second(np.zeros_like(times), times)  # known: how many are earlier
    earlier = (order[:, None] < known).astype(np.float32)  # [earlier, now], as all pairs below
    recency = np.exp(np.minimum(order[:, None] - known + 1, 0) / RECENT_EVENTS).astype(np.float32) * earlier
    pairs = np.ix_(items, items)
    likes, similar = fitted.likes[pairs] * earlier, fitted.similar[pairs] * earlier

    offset = ratings - fitted.overall - fitted.item_offset[items]
    user_offset = np.r_[0, np.cumsum(offset)][known] / (known + PRIOR)
    deviation = (offset[:, None] - user_offset).astype(np.float32)

    def mean(weights: Float32, prior: float) -> Float32:
        average: Float32 = (weights * deviation).sum(axis=0) / (weights.sum(axis=0) + prior)
        return average

    columns = (
        likes[liked].sum(axis=0),
        likes[~liked].sum(axis=0),
        similar[liked].sum(axis=0),
        similar[~liked].sum(axis=0),
        mean(similar, LEAST_SIMILAR),
        mean(similar * recency, LEAST_RECENT),
        mean(recency, 1.0),
        user_offset,
        fitted.item_offset[items],
        np.log1p(known),
        np.log1p(fitted.item_ratings[items]),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def _matrix(data: Sequences, values: NDArray[np.generic]) -> sp.csr_matrix:
    """(users, items + 1) with ``values`` (events,) where a user rated an item."""
    shape = (data.n_users, data.n_items + 1)
    return sp.csr_matrix((values.astype(np.float32), data.items, data.starts), shape=shape)
