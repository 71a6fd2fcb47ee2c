"""A form of channel: user vectors that are weighted sums over the history, made when a request is answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels.contract import Arrays, VectorChannel
from data_exchange_center.channels.requests import Float32, Ints, Requests
from data_exchange_center.channels.shares import Shares
from data_exchange_center.channels.vectors import index_vectors, query_vectors

_PROFILE = "profile"


@dataclass(frozen=True, eq=False)
class HistorySum(VectorChannel):
    """A user vector is the sum of a base row (one per regime), profile rows and weighted item rows of the history.

    It needs no model server, and a new rating adds one term to a sum.

    Attributes:
        rows: (fields, items + 1, d) history rows; row 0 (padding) is zero.
        lag: (fields, regimes, lags) weight of the newest, second newest, ... event.
        rating_weight: (fields, regimes, rating codes) factor of an event by its rating; that of padding, code 0, is 0.
        base: (regimes, d) where the sum starts.
        profile: per profile field (codes, d); code 0 is an unknown value.
        items: (items + 1, d) item vectors.
        bias: (items + 1,) popularity: one more item dimension, 1 in the user vector.
        trained: (items + 1,) False for padding and for items without a rating.
    """

    form: ClassVar[str] = "history_sum"

    rows: Float32
    lag: Float32
    rating_weight: Float32
    base: Float32
    profile: tuple[Float32, ...]
    items: Float32
    bias: Float32
    trained: NDArray[np.bool_]

    @property
    def events(self) -> int:
        """As many as there are weights."""
        return int(self.lag.shape[2])

    def user_vectors(self, requests: Requests) -> Float32:
        """(m, d + 2), the last two 1 (popularity) and 0 (length). More than `events` events are cut off.

        Where the sum is zero and popularity has no part, every item would get the same score: NaN. A linear item-item
        model, for example, knows nothing about a user without a history.
        """
        items = requests.items[:, : self.events]
        vectors = self.base[requests.regimes].copy()
        for table, column in zip(self.profile, requests.profiles.T, strict=False):
            vectors += table[column]
        for rows, weights in zip(self.rows, self._weights(requests), strict=True):
            vectors += np.matmul(weights[:, None, :], rows[items])[:, 0]  # (m, 1, n) x (m, n, d)
        if not self.bias.any():
            vectors[~vectors.any(axis=1)] = np.nan
        return query_vectors(vectors)

    def _weights(self, requests: Requests) -> Iterator[Float32]:
        """Of each event, (m, n): one array a field."""
        items, ratings, regime = requests.items[:, : self.events], requests.ratings[:, : self.events], requests.regimes
        for lag, rating_weight in zip(self.lag, self.rating_weight, strict=True):
            yield lag[regime, : items.shape[1]] * rating_weight[regime[:, None], ratings] * (items > 0)

    def shares(self, requests: Requests, items: Ints) -> Shares:
        """The inner product of an item with each term of the user's sum."""
        found = self.items[items].astype(np.float64)  # (k, d)
        codes = requests.items[0, : self.events]
        terms = sum(
            weights[0][:, None] * rows[codes] for rows, weights in zip(self.rows, self._weights(requests), strict=True)
        )
        profile = [table[code] for table, code in zip(self.profile, requests.profiles[0], strict=False)]
        return Shares(
            base=found @ self.base[requests.regimes[0]],
            popularity=self.bias[items].astype(np.float64),
            profile=found @ np.reshape(profile, (-1, found.shape[1])).T,
            events=found @ np.reshape(terms, (-1, found.shape[1])).T,
        )

    def item_vectors(self) -> Float32:
        """(items + 1, d + 2)."""
        return index_vectors(self.items, self.bias, self.trained)

    def arrays(self) -> Arrays:
        """One for each profile field."""
        tables = {f"{_PROFILE}{n}": table for n, table in enumerate(self.profile)}
        rest = super(HistorySum, replace(self, profile=())).arrays()
        return {key: array for key, array in rest.items() if key != _PROFILE} | tables

    @classmethod
    def of(cls, name: str, arrays: Arrays) -> Self:
        fields = sum(key.startswith(_PROFILE) for key in arrays)
        tables = {key: array for key, array in arrays.items() if not key.startswith(_PROFILE)}
        return cls(name=name, profile=tuple(arrays[f"{_PROFILE}{n}"] for n in range(fields)), **tables)
