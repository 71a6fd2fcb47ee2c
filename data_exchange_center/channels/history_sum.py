"""A form of channel: user vectors that are weighted sums over the history, made when a request is answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels.contract import Arrays, VectorChannel
from data_exchange_center.channels.requests import Float32, Ints, Requests
from data_exchange_center.channels.shares import Shares
from data_exchange_center.channels.vectors import index_vectors, query_vectors

_TUPLES = "profile", "hidden"  # fields that are several arrays


@dataclass(frozen=True, eq=False)
class HistorySum(VectorChannel):
    """A user vector is the sum of a base row (one per regime), profile rows and weighted item rows of the history.

    A hidden layer, where there is one, reads the sums and is added to them. It needs no model server, and a new rating
    adds one term to a sum.

    Attributes:
        rows: (fields, items + 1, d) history rows; row 0 (padding) is zero.
        lag: (fields, regimes, lags) weight of the newest, second newest, ... event.
        rating_weight: (fields, regimes, rating codes) factor of an event by its rating; that of padding, code 0, is 0.
        base: (regimes, d) where the sum starts.
        profile: per profile field (codes, d); code 0 is an unknown value.
        items: (items + 1, d) item vectors.
        bias: (items + 1,) popularity: one more item dimension, 1 in the user vector.
        trained: (items + 1,) False for padding and for items without a rating.
        hidden: none, or a layer whose output is added to the sum: of the sums of each field, the first with base and
            profile in it, (fields, d, h) and (h,) to hidden units with SiLU, and (h, d) back.
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
    hidden: tuple[Float32, ...] = ()

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
        sums = np.zeros((len(self.rows), len(requests), self.items.shape[1]), np.float32)  # (fields, m, d)
        sums[0] = self.base[requests.regimes]
        for table, column in zip(self.profile, requests.profiles.T, strict=False):
            sums[0] += table[column]
        for of_field, rows, weights in zip(sums, self.rows, self._weights(requests), strict=True):
            of_field += np.matmul(weights[:, None, :], rows[items])[:, 0]  # (m, 1, n) x (m, n, d)
        vectors: Float32 = sums.sum(axis=0)
        if self.hidden:
            up, bias, down = self.hidden
            units = np.matmul(sums, up).sum(axis=0) + bias
            vectors += (units * _sigmoid(units)) @ down
        if not self.bias.any():
            vectors[~vectors.any(axis=1)] = np.nan
        return query_vectors(vectors)

    def _weights(self, requests: Requests) -> Iterator[Float32]:
        """Of each event, (m, n): one array a field."""
        items, ratings, regime = requests.items[:, : self.events], requests.ratings[:, : self.events], requests.regimes
        for lag, rating_weight in zip(self.lag, self.rating_weight, strict=True):
            yield lag[regime, : items.shape[1]] * rating_weight[regime[:, None], ratings] * (items > 0)

    def shares(self, requests: Requests, items: Ints) -> Shares:
        """The inner product of an item with each term of the user's sum.

        Hidden units are linear but for their gates. With the gates as they are for this request, a term's share is
        its own and what it brings through the units; their bias is everybody's.
        """
        found = self.items[items].astype(np.float64)  # (k, d)
        codes = requests.items[0, : self.events]
        terms = [
            weights[0][:, None] * rows[codes] for rows, weights in zip(self.rows, self._weights(requests), strict=True)
        ]
        first = [table[code] for table, code in zip(self.profile, requests.profiles[0], strict=False)]
        profile, base = np.reshape(first, (-1, found.shape[1])), self.base[requests.regimes[0]]
        seen_by, of_all = [found] * len(terms), np.zeros(len(found))  # an item as each field sees it
        if self.hidden:
            up, bias, down = self.hidden
            sums = np.stack([each.sum(axis=0) for each in terms])
            sums[0] += base + profile.sum(axis=0)
            gates = _sigmoid(np.einsum("fd,fdh->h", sums, up) + bias)
            opened = (found @ down.T) * gates  # (k, h)
            seen_by, of_all = [found + opened @ each.T for each in up], opened @ bias
        return Shares(
            base=seen_by[0] @ base + of_all,
            popularity=self.bias[items].astype(np.float64),
            profile=seen_by[0] @ profile.T,
            events=np.sum([each @ term.T for each, term in zip(seen_by, terms, strict=True)], axis=0),
        )

    def item_vectors(self) -> Float32:
        """(items + 1, d + 2)."""
        return index_vectors(self.items, self.bias, self.trained)

    def arrays(self) -> Arrays:
        """One for each profile field, and for each part of a hidden layer."""
        several = {f"{field}{n}": each for field in _TUPLES for n, each in enumerate(getattr(self, field))}
        rest = super(HistorySum, replace(self, profile=(), hidden=())).arrays()
        return {key: array for key, array in rest.items() if key not in _TUPLES} | several

    @classmethod
    def of(cls, name: str, arrays: Arrays) -> Self:
        tables: dict[str, Any] = {key: array for key, array in arrays.items() if not key.startswith(_TUPLES)}
        for field in _TUPLES:
            parts = sum(key.startswith(field) for key in arrays)
            tables[field] = tuple(arrays[f"{field}{n}"] for n in range(parts))
        return cls(name=name, **tables)


def _sigmoid(values: NDArray[Any]) -> NDArray[Any]:
    halves: NDArray[Any] = 0.5 * (1 + np.tanh(0.5 * values))
    return halves
