"""A recall channel: how a user's history becomes the vector that the item index is asked with.

A user vector is a base row (by regime), profile rows and weighted sums of item rows over the history. So it needs no
model server: whoever has the tables and a history calls the same `Channel.user_vectors`, and one new rating changes one
term of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Ints = NDArray[np.integer]

BREAK_S = 3600  # a request this long after the user's last event starts a new sitting
CONTINUES, RETURNS = 0, 1  # regimes
OPINIONS = 6  # ratings 1..5; 0 is padding and must weigh nothing


def regimes(request_times: Ints, last_times: Ints, has_history: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(m,) seconds of request and of the last event -> (m,) CONTINUES or RETURNS. No history: CONTINUES."""
    returns = (np.asarray(request_times) - np.asarray(last_times) >= BREAK_S) & has_history
    return np.where(returns, RETURNS, CONTINUES)


@dataclass(frozen=True)
class Channel:
    """One vector channel.

    Attributes:
        name: name of the index's vector field.
        rows: (fields, items + 1, d) history rows; row 0 (padding) is zero.
        lag: (fields, regimes, lags) weight of the newest, second newest, ... event.
        opinion: (fields, regimes, OPINIONS) factor of an event by its rating; factor of padding is 0.
        base: (regimes, d) where the sum starts.
        profile: per profile field (codes, d).
        items: (items + 1, d) item vectors.
        bias: (items + 1,) popularity: one more item dimension, 1 in the user vector.
    """

    name: str
    rows: Float32
    lag: Float32
    opinion: Float32
    base: Float32
    profile: tuple[Float32, ...]
    items: Float32
    bias: Float32

    @property
    def lags(self) -> int:
        return int(self.lag.shape[2])

    def user_vectors(self, items: Ints, ratings: Ints, profiles: Ints, regime: Ints) -> Float32:
        """(m, n) item codes and ratings newest first, (m, profile fields) codes, (m,) -> (m, d + 2).

        More events than ``lags`` are cut off; fewer are fine. The last two values are 1 (popularity) and 0 (length).
        """
        items, ratings = items[:, : self.lags], ratings[:, : self.lags]
        vectors = self.base[regime].copy()
        for table, column in zip(self.profile, profiles.T, strict=False):
            vectors += table[column]
        for rows, lag, opinion in zip(self.rows, self.lag, self.opinion, strict=True):
            weights = lag[regime, : items.shape[1]] * opinion[regime[:, None], ratings] * (items > 0)
            vectors += np.matmul(weights[:, None, :], rows[items])[:, 0]  # (m, 1, n) x (m, n, d)
        ones = np.ones((len(vectors), 1), np.float32)
        return np.hstack([vectors, ones, 0 * ones]).astype(np.float32)

    def item_vectors(self) -> Float32:
        """(items + 1, d + 2), all of one length (Bachrach et al. 2014), so that an item finds itself first."""
        vectors = np.hstack([self.items, self.bias[:, None]]).astype(np.float64)
        square = (vectors**2).sum(axis=1)
        length = np.sqrt(np.maximum(square[1:].max() - square, 0))
        return np.hstack([vectors, length[:, None]]).astype(np.float32)
