"""Served recall channels: what a release holds of a fitted channel, and how it answers a request. Numpy alone.

A channel either gives vectors, which an index of the items is searched with (`VectorChannel`), or scores the items
itself (`Channel`). Training lists, evaluation and server call the same methods. `channel_file` writes and reads them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.fusion import NOT_FOUND, Hits, Vocabulary
from data_exchange_center.history import History
from data_exchange_center.top_k import allowed_items, best

Float32 = NDArray[np.float32]
Ints = NDArray[np.integer]
Arrays = Mapping[str, NDArray[Any]]

# newest events that a channel reads, unless it overrides `Channel.events`
EVENTS: Final = 100
# a request this long after the user's last event starts a new session
BREAK_S: Final = 3600
# ... and this long after it all elapsed times are one bucket
LONG_AGO_S: Final = 2 * 365 * 86_400
# regimes: the session continues; the user returns after a break
CONTINUES, RETURNS = 0, 1


@dataclass(frozen=True, eq=False)
class Requests:
    """A batch of m requests. Item codes are 1..items in the order of the release's; 0: padding or an unknown item."""

    items: Ints  # (m, n) codes of the user's newest events before the request, newest first, padded on the right
    ratings: Ints  # (m, n) rating codes of these events, 0 where padded
    times: Ints  # (m, n) seconds of these events, 0 where padded
    lengths: Ints  # (m,) how many events there are, up to n
    profiles: Ints  # (m, fields) profile codes; 0 is an unknown value
    timestamps: Ints  # (m,) seconds of the requests
    # channel name -> (m, d) vectors that are stored for these users; NaN for a user without one
    stored: Mapping[str, Float32] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.timestamps)

    @cached_property
    def regimes(self) -> NDArray[np.int64]:
        """(m,) CONTINUES or RETURNS. No history: CONTINUES."""
        last = self.times[:, 0] if self.times.shape[1] else 0
        returns = (self.timestamps - last >= BREAK_S) & (self.lengths > 0)
        return np.where(returns, RETURNS, CONTINUES)


@dataclass(frozen=True, eq=False)
class Channel(ABC):
    """A fitted channel, as it is served. Subclasses are frozen dataclasses of arrays and numbers."""

    form: ClassVar[str]  # name of the class within a release
    name: str  # of the channel

    @property
    def events(self) -> int:
        """Number of a user's newest events that requests carry."""
        return EVENTS

    @abstractmethod
    def scores(self, requests: Requests) -> Float32:
        """Score all items for m requests: (m, items + 1) by item code, never NaN; `NOT_FOUND`: not returned.

        Training calls it from a worker thread.
        """


class VectorChannel(Channel):
    """A channel whose score of an item is the inner product of a user's and an item's vector: an index finds the best.

    `wire.vector_of(name)` is its field in the index.
    """

    # (items + 1,) False for padding and items it was not trained on: they are not indexed
    trained: NDArray[np.bool_]

    @abstractmethod
    def item_vectors(self) -> Float32:
        """(items + 1, d); rows of items that are not ``trained`` mean nothing."""

    @abstractmethod
    def user_vectors(self, requests: Requests) -> Float32:
        """(m, d); NaN for a user without events or profile, whose items would all score alike."""

    @cached_property
    def _item_vectors(self) -> Float32:
        """`item_vectors`, cached."""
        return self.item_vectors()

    def scores(self, requests: Requests) -> Float32:
        """Inner products."""
        scores = self.user_vectors(requests) @ self._item_vectors.T
        return np.where(np.isnan(scores) | ~self.trained, NOT_FOUND, scores)


def unit_vectors(rows: NDArray[np.floating]) -> Float32:
    """(n, d) rows, each divided by its length; zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32 = np.divide(
        rows, lengths, out=np.zeros_like(rows), where=lengths > 0
    ).astype(np.float32)
    return unit


def with_bias_dims(vectors: Float32) -> Float32:
    """(m, d) user vectors -> (m, d + 2): 1 for the item's bias, 0 for the item's filler."""
    longer = np.zeros((len(vectors), vectors.shape[1] + 2), np.float32)
    longer[:, :-2], longer[:, -2] = vectors, 1
    return longer


def index_vectors(
    vectors: Float32, bias: Float32, indexed: NDArray[np.bool_] | None = None
) -> Float32:
    """(n, d) item vectors, (n,) biases -> (n, d + 2): vector, bias, and a filler that makes all equally long.

    <query, item> is the model's own v_user . v_item + b_item. The filler sqrt(M^2 - |(v, b)|^2), with M the longest,
    meets only the query's 0; it makes an item the nearest to itself (Bachrach et al., "Speeding Up the Xbox Recommender
    System", RecSys 2014, section 3).

    ``indexed``: (n,) mask of the rows whose longest is M; None: all.
    """
    known = np.hstack([vectors, bias[:, None]]).astype(np.float64)
    square = (known**2).sum(axis=1)
    longest = (square if indexed is None else square[indexed]).max(initial=0.0)
    filler = np.sqrt(np.maximum(longest - square, 0))
    return np.hstack([known, filler[:, None]]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class HistorySum(VectorChannel):
    """A user vector is the sum of a base row (one per regime), profile rows and weighted item rows of the history.

    A hidden layer, where there is one, reads the sums and is added to them.
    """

    form: ClassVar[str] = "history_sum"

    rows: Float32  # (fields, items + 1, d) history rows; row 0 (padding) is zero
    lag: Float32  # (fields, regimes, lags) weight of the newest, second newest, ... event
    # (fields, regimes, rating codes) factor of an event by its rating; that of padding, code 0, is 0
    rating_weight: Float32
    base: Float32  # (regimes, d) where the sum starts
    items: Float32  # (items + 1, d) item vectors
    bias: Float32  # (items + 1,) popularity: one more item dimension, 1 in the user vector
    # (items + 1,) False for padding and for items without a rating
    trained: NDArray[np.bool_]
    # per profile field (codes, d); code 0 is an unknown value
    profile: tuple[Float32, ...] = ()
    # empty, or a hidden layer over the fields' sums (the first includes base and profile): weights (fields, d, h) and
    # bias (h,) of SiLU units, weights (h, d) back; its output is added to the sum
    hidden: tuple[Float32, ...] = ()

    @cached_property
    def events(self) -> int:
        """Number of weights, one an event."""
        return int(self.lag.shape[2])

    def user_vectors(self, requests: Requests) -> Float32:
        """(m, d + 2), the last two 1 (popularity) and 0 (length). More than `events` events are cut off.

        NaN where the sum is zero and there is no popularity: every item would get the same score.
        """
        items = requests.items[:, : self.events]  # (m, n)
        # the first field's sum begins with the base row and the profile's rows
        sums = np.zeros(
            (len(self.rows), len(items), self.items.shape[1]), np.float32
        )  # (fields, m, d)
        sums[0] = self.base[requests.regimes]
        for table, column in zip(self.profile, requests.profiles.T, strict=False):
            sums[0] += table[column]
        # each field adds the weighted rows of the history
        for of_field, rows, weights in zip(
            sums, self.rows, self.weights(requests), strict=True
        ):
            # (m, 1, n) x (m, n, d)
            of_field += np.matmul(weights[:, None, :], rows[items])[:, 0]
        vectors: Float32 = sums.sum(axis=0)  # (m, d)
        # hidden units read the sums and are added
        if self.hidden:
            up, bias, down = self.hidden
            units = np.matmul(sums, up).sum(axis=0) + bias  # (m, h)
            vectors += (units * sigmoid(units)) @ down
        if not self.bias.any():
            vectors[~vectors.any(axis=1)] = np.nan
        return with_bias_dims(vectors)

    def weights(self, requests: Requests) -> Iterator[Float32]:
        """Yield the weights of the events, (m, n), field by field."""
        items = requests.items[:, : self.events]
        ratings = requests.ratings[:, : self.events]
        regime = requests.regimes
        for lag, rating_weight in zip(self.lag, self.rating_weight, strict=True):
            yield (
                lag[regime, : items.shape[1]]
                * rating_weight[regime[:, None], ratings]
                * (items > 0)
            )

    def item_vectors(self) -> Float32:
        """(items + 1, d + 2)."""
        return index_vectors(self.items, self.bias, self.trained)


def sigmoid(values: NDArray[Any]) -> NDArray[Any]:
    return 0.5 * (1 + np.tanh(0.5 * values))


@dataclass(frozen=True, eq=False)
class StoredVectors(VectorChannel):
    """Vectors that training stores for each user: online they come from Redis, offline from `artifacts.USER_VECTORS`.

    `channels.npz` holds no such channel: nothing is computed when a request comes.
    """

    form: ClassVar[str] = "stored_vectors"

    users: Float32  # (users, d) in the order of the users it was fitted on; NaN for a user it was not trained on
    items: Float32  # (items + 1, d)
    # (items + 1,) False for padding and items it was not trained on
    trained: NDArray[np.bool_]

    def user_vectors(self, requests: Requests) -> Float32:
        return requests.stored[self.name]

    def item_vectors(self) -> Float32:
        return self.items


@dataclass(frozen=True, eq=False)
class EncodedChannel(VectorChannel):
    """A channel whose user vectors an ONNX model makes: offline here, online Triton; a server has NaN, and no model."""

    # the model's file; its output are the vectors, (m, d), called `wire.MODEL_OUTPUT`
    onnx: NDArray[np.uint8]

    @abstractmethod
    def inputs(self, requests: Requests) -> Arrays:
        """The model's inputs by name, (m, n) each; none where no request has an event that the model knows."""


@dataclass(frozen=True, eq=False)
class ChannelSet:
    """All channels of a release that compute something when a request comes, over one vocabulary of items."""

    # (items,) ascending; the code of ``item_numbers[c - 1]`` is c
    item_numbers: NDArray[np.int64]
    channels: tuple[Channel, ...]  # none in a release that has stored vectors only

    @cached_property
    def encoded(self) -> tuple[EncodedChannel, ...]:
        """The channels whose user vectors a model in Triton makes."""
        return tuple(
            channel for channel in self.channels if isinstance(channel, EncodedChannel)
        )

    def without_encoders(self) -> Self:
        """The same channels without the encoders' models: what a server holds."""
        if not self.encoded:
            return self
        none = np.empty(0, np.uint8)  # a slice would keep the model's memory
        kept = (
            replace(each, onnx=none) if isinstance(each, EncodedChannel) else each
            for each in self.channels
        )
        return replace(self, channels=tuple(kept))

    def codes(self, item_numbers: Ints) -> NDArray[np.int64]:
        """Codes of ``item_numbers``, any shape; 0 for an unknown item."""
        return Vocabulary(self.item_numbers).codes(item_numbers)

    def vectors_of(self, item_numbers: Ints) -> dict[str, Float32]:
        """(n, dim) item vectors of each channel that has some, NaN for items that it was not trained on."""
        codes = self.codes(item_numbers)
        return {
            channel.name: np.where(
                channel.trained[codes, None], channel.item_vectors()[codes], np.nan
            )
            for channel in self.channels
            if isinstance(channel, VectorChannel)
        }

    def requests(
        self, history: History, profile: Ints, timestamp: int
    ) -> Iterator[tuple[Channel, Requests]]:
        """Yield each channel with one user's request at ``timestamp`` (seconds), m = 1.

        ``profile``: (profile fields,) codes.
        """
        longest = max((channel.events for channel in self.channels), default=0)
        codes = self.codes(history.item_numbers[:longest])
        for channel in self.channels:
            items = codes[None, : channel.events]
            yield (
                channel,
                Requests(
                    items=items,
                    ratings=history.ratings[None, : channel.events],
                    times=history.times[None, : channel.events],
                    lengths=np.array([items.size]),
                    profiles=np.asarray(profile)[None],
                    timestamps=np.array([timestamp]),
                ),
            )

    def query_vectors(
        self, history: History, profile: Ints, timestamp: int
    ) -> Mapping[str, Float32]:
        """(d,) the user's vector for each channel that has vectors and knows something about the user."""
        vectors = {}
        for channel, request in self.requests(history, profile, timestamp):
            if isinstance(channel, VectorChannel):
                vector = channel.user_vectors(request)[0]
                if not np.isnan(vector[0]):
                    vectors[channel.name] = vector
        return vectors

    def encoder_inputs(
        self, history: History, profile: Ints, timestamp: int
    ) -> Mapping[str, Arrays]:
        """Inputs of each encoder, (1, n), that knows an event of the history."""
        inputs = {}
        for channel, request in self.requests(history, profile, timestamp):
            if isinstance(channel, EncodedChannel):
                tensors = channel.inputs(request)
                if tensors:
                    inputs[channel.name] = tensors
        return inputs

    def scores(
        self, history: History, profile: Ints, timestamp: int
    ) -> Mapping[str, Float32]:
        """(items + 1,) scores by item code, for each channel without vectors."""
        return {
            channel.name: channel.scores(request)[0]
            for channel, request in self.requests(history, profile, timestamp)
            if not isinstance(channel, VectorChannel)
        }

    def lists(
        self,
        history: History,
        profile: Ints,
        timestamp: int,
        seen: Ints,
        only: NDArray[np.int64] | None,
        size: int,
    ) -> Mapping[str, Hits]:
        """The best ``size`` of the `allowed_items`, as numbers, of each channel without vectors."""
        allowed = allowed_items(self.item_numbers, seen, only)
        found = {}
        for name, scores in self.scores(history, profile, timestamp).items():
            places = best(scores[1:], allowed, size)
            found[name] = Hits(self.item_numbers[places], scores[1:][places])
        return found
