"""A recall channel: how a user's history becomes the vector that queries the item index.

A user vector is the sum of a base row (one per regime), profile rows and weighted item rows of the history. It needs no
model server: training, evaluation and server call the same `Channel.user_vectors`, and a new rating adds one term to a
sum.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.history import History

Float32 = NDArray[np.float32]
Ints = NDArray[np.integer]

BREAK_S = 3600  # a request this long after the user's last event starts a new session
CONTINUES, RETURNS = 0, 1  # regimes
_ARRAYS = ("rows", "lag", "rating_weight", "base", "items", "bias", "trained")


def regimes(request_times: Ints, last_times: Ints, has_history: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(m,) seconds of request and of the last event -> (m,) CONTINUES or RETURNS. No history: CONTINUES."""
    returns = (np.asarray(request_times) - np.asarray(last_times) >= BREAK_S) & has_history
    return np.where(returns, RETURNS, CONTINUES)


def query_vectors(vectors: Float32) -> Float32:
    """(m, d) user vectors -> (m, d + 2): 1 for the item's bias, 0 for the item's filler."""
    ones = np.ones((len(vectors), 1), np.float32)
    return np.hstack([vectors, ones, 0 * ones]).astype(np.float32)


def index_vectors(vectors: Float32, bias: Float32, indexed: NDArray[np.bool_] | None = None) -> Float32:
    """(n, d) item vectors, (n,) biases -> (n, d + 2): vector, bias, and a filler that makes all equally long.

    <query, item> is the model's own v_user . v_item + b_item. The filler sqrt(M^2 - |(v, b)|^2), with M the longest,
    meets only the query's 0; it makes an item the nearest to itself (Bachrach et al., "Speeding Up the Xbox Recommender
    System", RecSys 2014, section 3).

    ``indexed``: (n,) the rows whose longest is M; None: all.
    """
    known = np.hstack([vectors, bias[:, None]]).astype(np.float64)
    square = (known**2).sum(axis=1)
    longest = (square if indexed is None else square[indexed]).max(initial=0.0)
    filler = np.sqrt(np.maximum(longest - square, 0))
    return np.hstack([known, filler[:, None]]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Channel:
    """One vector channel.

    Attributes:
        name: of the channel; `columns.vector_of` makes the index's field of it.
        rows: (fields, items + 1, d) history rows; row 0 (padding) is zero.
        lag: (fields, regimes, lags) weight of the newest, second newest, ... event.
        rating_weight: (fields, regimes, rating codes) factor of an event by its rating; that of padding, code 0, is 0.
        base: (regimes, d) where the sum starts.
        profile: per profile field (codes, d); code 0 is an unknown value.
        items: (items + 1, d) item vectors.
        bias: (items + 1,) popularity: one more item dimension, 1 in the user vector.
        trained: (items + 1,) False for padding and for items without a rating: they are not indexed.
    """

    name: str
    rows: Float32
    lag: Float32
    rating_weight: Float32
    base: Float32
    profile: tuple[Float32, ...]
    items: Float32
    bias: Float32
    trained: NDArray[np.bool_]

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
        for rows, lag, rating_weight in zip(self.rows, self.lag, self.rating_weight, strict=True):
            weights = lag[regime, : items.shape[1]] * rating_weight[regime[:, None], ratings] * (items > 0)
            vectors += np.matmul(weights[:, None, :], rows[items])[:, 0]  # (m, 1, n) x (m, n, d)
        return query_vectors(vectors)

    def item_vectors(self) -> Float32:
        """(items + 1, d + 2); rows of items that are not ``trained`` mean nothing and are not to be indexed."""
        return index_vectors(self.items, self.bias, self.trained)


@dataclass(frozen=True, eq=False)
class ChannelSet:
    """The channels of a release that compute user vectors from the history, and the items they know.

    Attributes:
        itemids: (items,) ascending; the code of ``itemids[c - 1]`` is c.
        channels: none in a release that has stored vectors only.
    """

    itemids: NDArray[np.int64]
    channels: tuple[Channel, ...]

    def codes(self, itemids: Ints) -> NDArray[np.int64]:
        """Codes of ``itemids``, any shape; 0 for an unknown item."""
        if not len(self.itemids):
            return np.zeros(np.shape(itemids), dtype=np.int64)
        position = np.minimum(np.searchsorted(self.itemids, itemids), len(self.itemids) - 1)
        return np.where(self.itemids[position] == itemids, position + 1, 0)

    def user_vectors(self, history: History, profile: Ints, timestamp: int) -> Mapping[str, Float32]:
        """One user's vector for each channel, (d + 2,), for a request at ``timestamp`` (seconds).

        A channel that would give every item the same score is left out: a linear item-item model knows nothing about a
        user without a history, and fusion would take whichever items the index returned first for its best.

        ``profile``: (profile fields,) codes.
        """
        if not self.channels:
            return {}
        codes = self.codes(history.itemids)[None]
        last = history.times[:1] if len(history) else np.zeros(1, np.int64)
        regime = regimes(np.array([timestamp]), last, np.array([len(history) > 0]))
        vectors = {
            channel: channel.user_vectors(codes, history.ratings[None], np.asarray(profile)[None], regime)[0]
            for channel in self.channels
        }
        return {
            channel.name: vector
            for channel, vector in vectors.items()
            if vector[:-2].any() or channel.bias.any()  # the last two: popularity and length
        }

    def pack(self) -> bytes:
        """An .npz, without pickle."""
        arrays: dict[str, NDArray[np.generic]] = {
            "itemids": self.itemids,
            "names": np.array([channel.name for channel in self.channels], dtype=np.str_),
        }
        for channel in self.channels:
            arrays |= {f"{channel.name}.{key}": getattr(channel, key) for key in _ARRAYS}
            arrays |= {f"{channel.name}.profile{n}": table for n, table in enumerate(channel.profile)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def unpack(cls, raw: bytes) -> ChannelSet:
        """Inverse of `pack`. Raises ValueError when ``raw`` is no such file."""
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                names = arrays["names"].tolist()
                return cls(arrays["itemids"], tuple(_channel(name, dict(arrays)) for name in names))
        except (KeyError, OSError, ValueError, EOFError) as error:
            raise ValueError(f"these are no channels ({error})") from error


def _channel(name: str, arrays: Mapping[str, NDArray[np.generic]]) -> Channel:
    fields = sum(key.startswith(f"{name}.profile") for key in arrays)
    tables: dict[str, NDArray[np.generic]] = {key: arrays[f"{name}.{key}"] for key in _ARRAYS}
    profile = tuple(arrays[f"{name}.profile{n}"] for n in range(fields))
    return Channel(name=name, profile=profile, **tables)  # type: ignore[arg-type]
