"""Take a channel's score apart: what the user's events, the profile and popularity add to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel, ChannelSet, HistorySum, Requests, sigmoid
from data_exchange_center.history import History

Float64 = NDArray[np.float64]
Ints = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Shares:
    """The terms of one request's scores of k items; their sum is the scores.

    Attributes:
        base: (k,) what every user would get.
        popularity: (k,) of the item alone.
        profile: (k, fields) in the order of `Dataset.profile`; no fields where the channel does not look at them.
        events: (k, n) of the user's newest events, newest first.
    """

    base: Float64
    popularity: Float64
    profile: Float64
    events: Float64

    @property
    def scores(self) -> Float64:
        """(k,)."""
        total: Float64 = self.base + self.popularity + self.profile.sum(axis=1) + self.events.sum(axis=1)
        return total


@singledispatch
def shares_of(channel: Channel, requests: Requests, items: Ints) -> Shares | None:
    """Terms of a channel's scores of (k,) item codes, for one request; None where the scores are no sums.

    A channel of another class is explained by a function that its package registers here.
    """
    return None


@shares_of.register
def _(channel: HistorySum, requests: Requests, items: Ints) -> Shares:
    """The inner product of an item with each term of the user's sum.

    Hidden units are linear but for their gates. With the gates as they are for this request, a term's share is its own
    and what it brings through the units; their bias is everybody's.
    """
    found = channel.items[items].astype(np.float64)  # (k, d)
    codes = requests.items[0, : channel.events]
    fields = zip(channel.rows, channel.weights(requests), strict=True)
    terms = [weights[0][:, None] * rows[codes] for rows, weights in fields]  # (n, d) each
    first = [table[code] for table, code in zip(channel.profile, requests.profiles[0], strict=False)]
    profile, base = np.reshape(first, (-1, found.shape[1])), channel.base[requests.regimes[0]]
    seen_by, of_all = [found] * len(terms), np.zeros(len(found))  # an item as each field sees it
    if channel.hidden:
        up, bias, down = channel.hidden
        sums = np.stack([each.sum(axis=0) for each in terms])
        sums[0] += base + profile.sum(axis=0)
        gates = sigmoid(np.einsum("fd,fdh->h", sums, up) + bias)
        opened = (found @ down.T) * gates  # (k, h)
        seen_by, of_all = [found + opened @ each.T for each in up], opened @ bias
    return Shares(
        base=seen_by[0] @ base + of_all,
        popularity=channel.bias[items].astype(np.float64),
        profile=seen_by[0] @ profile.T,
        events=np.sum([each @ term.T for each, term in zip(seen_by, terms, strict=True)], axis=0),
    )


def shares_by_channel(
    channels: ChannelSet, history: History, profile: Ints, timestamp: int, itemids: Ints
) -> Mapping[str, Shares]:
    """Terms of the scores of (k,) items, of the channels whose scores are sums; of unknown items they mean nothing."""
    requests, codes = channels.requests(channels.channels, history, profile, timestamp), channels.codes(itemids)
    found = {channel.name: shares_of(channel, requests[channel.events], codes) for channel in channels.channels}
    return {name: shares for name, shares in found.items() if shares is not None}
