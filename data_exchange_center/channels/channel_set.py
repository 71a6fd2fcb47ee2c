"""The channels of a release that compute something when a request comes, and the items they know."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels.contract import Channel, VectorChannel
from data_exchange_center.channels.registry import form_of
from data_exchange_center.channels.requests import Float32, Ints, Requests
from data_exchange_center.channels.shares import Shares
from data_exchange_center.fusion import Hits
from data_exchange_center.history import History
from data_exchange_center.vocabulary import Vocabulary, top_k


@dataclass(frozen=True, eq=False)
class ChannelSet:
    """Channels over one vocabulary of items.

    Attributes:
        itemids: (items,) ascending; the code of ``itemids[c - 1]`` is c.
        channels: none in a release that has stored vectors only.
    """

    itemids: NDArray[np.int64]
    channels: tuple[Channel, ...]

    def codes(self, itemids: Ints) -> NDArray[np.int64]:
        """Codes of ``itemids``, any shape; 0 for an unknown item."""
        return Vocabulary(self.itemids).codes(itemids)

    def user_vectors(self, history: History, profile: Ints, timestamp: int) -> Mapping[str, Float32]:
        """One user's vector for each channel that has vectors, (d,), for a request at ``timestamp`` (seconds).

        A channel that knows nothing about the user is left out: fusion would take whichever items the index returned
        first for its best. ``profile``: (profile fields,) codes.
        """
        channels = [channel for channel in self.channels if isinstance(channel, VectorChannel)]
        requests = self._requests(channels, history, profile, timestamp)
        vectors = {channel.name: channel.user_vectors(requests[channel.events])[0] for channel in channels}
        return {name: vector for name, vector in vectors.items() if not np.isnan(vector[0])}

    def scores(self, history: History, profile: Ints, timestamp: int) -> Mapping[str, Float32]:
        """(items + 1,) by item code, for each channel without vectors: how one user's request scores the items."""
        channels = [channel for channel in self.channels if not isinstance(channel, VectorChannel)]
        requests = self._requests(channels, history, profile, timestamp)
        return {channel.name: channel.scores(requests[channel.events])[0] for channel in channels}

    def lists(self, history: History, profile: Ints, timestamp: int, seen: Ints, size: int) -> Mapping[str, Hits]:
        """The best ``size`` unseen items, as itemids, by each channel without vectors; for one user's request."""
        found = {}
        for name, scores in self.scores(history, profile, timestamp).items():
            codes = self.codes(seen)
            (hits,) = top_k(scores[None].copy(), size, np.zeros(len(codes), np.int64), codes)
            found[name] = Hits(self.itemids[hits.ids - 1], hits.scores)
        return found

    def shares(self, history: History, profile: Ints, timestamp: int, itemids: Ints) -> Mapping[str, Shares]:
        """What the scores of (k,) ``itemids`` consist of, by channel; without the channels whose scores are no sums.

        Unknown items are counted as padding: their shares mean nothing.
        """
        requests, codes = self._requests(self.channels, history, profile, timestamp), self.codes(itemids)
        found = {channel.name: channel.shares(requests[channel.events], codes) for channel in self.channels}
        return {name: shares for name, shares in found.items() if shares is not None}

    def _requests(
        self, channels: Sequence[Channel], history: History, profile: Ints, timestamp: int
    ) -> dict[int, Requests]:
        """By the number of events that a channel is given."""
        lengths = {channel.events for channel in channels}
        codes = self.codes(history.itemids[: max(lengths, default=0)])
        return {
            events: Requests(
                items=codes[None, :events],
                ratings=history.ratings[None, :events],
                times=history.times[None, :events],
                lengths=np.array([min(len(codes), events)]),
                profiles=np.asarray(profile)[None],
                timestamps=np.array([timestamp]),
            )
            for events in lengths
        }

    def pack(self) -> bytes:
        """An .npz, without pickle."""
        arrays: dict[str, NDArray[np.generic]] = {
            "itemids": self.itemids,
            "names": np.array([channel.name for channel in self.channels], dtype=np.str_),
            "forms": np.array([channel.form for channel in self.channels], dtype=np.str_),
        }
        for channel in self.channels:
            arrays |= {f"{channel.name}.{key}": array for key, array in channel.arrays().items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def unpack(cls, raw: bytes) -> ChannelSet:
        """Inverse of `pack`. Raises ValueError when ``raw`` is no such file or holds a form that is not registered."""
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
                arrays = dict(stored)
            named = zip(arrays["names"].tolist(), arrays["forms"].tolist(), strict=True)
            return cls(arrays["itemids"], tuple(form_of(form).of(name, _of(name, arrays)) for name, form in named))
        except (KeyError, OSError, ValueError, EOFError) as error:
            raise ValueError(f"these are no channels ({error})") from error


def _of(name: str, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
