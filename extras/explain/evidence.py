"""What an answer was made of, from which it is explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel, HistorySum, Requests, sigmoid
from extras.explain.shapes import NamedItem
from online.clients.redis import StoredUser
from online.recommend.release import Release
from online.recommend.types import Candidates, Ranked

Float64 = NDArray[np.float64]
Ids = NDArray[np.integer]
Places = NDArray[np.intp]  # on the ranked list, from 0


@dataclass(frozen=True, eq=False)
class Evidence:
    """One user's answer on its way.

    Attributes:
        user: as a request at ``timestamp`` (seconds) sees them.
        candidates: recall's, before those without features are left out.
    """

    opened: Release
    user: StoredUser
    timestamp: int
    candidates: Candidates
    ranked: Ranked

    def shares(self, itemids: Ids) -> Mapping[str, Shares]:
        """The terms of each channel's scores of (k,) items, for the channels whose scores are sums.

        Unknown items are counted as padding: their shares mean nothing.
        """
        channels = self.opened.channels
        requests = channels.requests(channels.channels, self.user.history, self.user.profile, self.timestamp)
        codes = channels.codes(itemids)
        found = {each.name: shares_of(each, requests[each.events], codes) for each in channels.channels}
        return {name: shares for name, shares in found.items() if shares is not None}

    @cached_property
    def events(self) -> dict[int, dict[str, Any]]:
        """Position in the history, newest first -> what is told of an event whose item has a name."""
        history, levels = self.user.history, self.opened.manifest.dataset.levels
        return {
            n: {"itemid": item.own_id, "title": item.title, "rating": levels[rating - 1], "timestamp": time}
            for n, (itemid, rating, time) in enumerate(
                zip(history.itemids.tolist(), history.ratings.tolist(), history.times.tolist(), strict=True)
            )
            if (item := self.opened.catalogue.get(itemid)) is not None
        }

    def named(self, itemid: int) -> NamedItem:
        """An item of the catalogue."""
        item = self.opened.catalogue[itemid]
        return NamedItem(itemid=item.own_id, title=item.title)


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
def shares_of(channel: Channel, requests: Requests, items: Ids) -> Shares | None:
    """Terms of a channel's scores of (k,) item codes, for one request; None where the scores are no sums.

    A channel of another class is explained by a function that its package registers here.
    """
    return None


@shares_of.register
def _(channel: HistorySum, requests: Requests, items: Ids) -> Shares:
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


def rank_on(ids: Ids, itemid: int) -> int | None:
    """From 1; None: it is not on the list."""
    at = np.flatnonzero(ids == itemid)
    return int(at[0]) + 1 if len(at) else None
