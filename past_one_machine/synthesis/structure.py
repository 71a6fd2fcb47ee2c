"""What an expansion is to keep: popularity of items, lengths and sessions of users, genres of what they see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import BREAK_S
from data_exchange_center.columns import Columns
from past_one_machine.synthesis.expansion import Source

Ints = NDArray[np.int64]
SHARES: Final = (0.01, 0.1)  # of the items with events, the most popular first
QUANTILES: Final = (10, 50, 90, 99)


@dataclass
class Counts:
    """What is counted of events, part by part; a user's events are in one part.

    Attributes:
        popularity: (items,) events of each.
        lengths: how many users have so many events, by that number.
        sessions: how many sessions have so many events; a session ends with a break of `BREAK_S`.
        terms: term -> events with items that have it.
    """

    popularity: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    lengths: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    sessions: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    terms: dict[str, int] = field(default_factory=dict)

    def add_events(self, users: Ints, items: Ints, seconds: Ints) -> None:
        """(events,) of whole users."""
        order = np.lexsort((seconds, users))
        users, seconds = users[order], seconds[order]
        begins = np.ones(len(users), np.bool_)
        begins[1:] = users[1:] != users[:-1]
        self.lengths = _added(self.lengths, np.bincount(_runs(begins)))
        begins[1:] |= np.diff(seconds) >= BREAK_S
        self.sessions = _added(self.sessions, np.bincount(_runs(begins)))
        self.popularity = _added(self.popularity, np.bincount(items))

    def add_terms(self, terms: Sequence[Sequence[str]]) -> None:
        """Terms of each item, after all events; items behind the last that has events may have some, too."""
        for events, names in zip(self.popularity.tolist(), terms, strict=False):
            for name in names:
                self.terms[name] = self.terms.get(name, 0) + events

    def summary(self) -> dict[str, Any]:
        """The figures to compare: sizes, shares, quantiles."""
        popular = np.sort(self.popularity[self.popularity > 0])[::-1]
        events, n = int(popular.sum()), len(popular)
        top = {f"top {share:.0%}": float(popular[: max(1, round(share * n))].sum() / events) for share in SHARES}
        return {
            "events": events,
            "users": int(self.lengths.sum()),
            "items": n,
            "popularity": {**top, "gini": _gini(popular[::-1])},
            "events of a user": _quantiles(self.lengths),
            "events of a session": _quantiles(self.sessions),
            "sessions of a user": float(self.sessions.sum() / self.lengths.sum()),
            "terms": {name: count / events for name, count in sorted(self.terms.items())},
        }


def of_source(source: Source) -> dict[str, Any]:
    """Summary of a data set."""
    counts, ratings = Counts(), source.ratings
    places = np.searchsorted(source.items[Columns.ITEM].to_numpy(), ratings[Columns.ITEM].to_numpy())
    counts.add_events(ratings[Columns.USER].to_numpy(np.int64), places, ratings[Columns.TIMESTAMP].to_numpy())
    counts.add_terms(source.items[Columns.GENRES].tolist())
    return counts.summary()


def differences(source: Mapping[str, Any], expanded: Mapping[str, Any]) -> dict[str, float]:
    """Term -> share of the events with it in the expansion, less that in the source."""
    return {name: expanded["terms"].get(name, 0.0) - share for name, share in source["terms"].items()}


def _added(left: Ints, right: Ints) -> Ints:
    total = np.zeros(max(len(left), len(right)), np.int64)
    total[: len(left)] += left
    total[: len(right)] += right
    return total


def _runs(begins: NDArray[np.bool_]) -> Ints:
    """(events,) where a run begins -> (runs,) how long each is."""
    return np.diff(np.append(np.flatnonzero(begins), len(begins)))


def _quantiles(histogram: Ints) -> dict[str, int]:
    """Of the numbers that are counted in it: the smallest that so many percent do not exceed."""
    up_to = np.cumsum(histogram)
    found = {f"p{q}": int(np.searchsorted(up_to, q / 100 * up_to[-1])) for q in QUANTILES}
    return {**found, "most": int(np.flatnonzero(histogram)[-1])}


def _gini(ascending: Ints) -> float:
    """0: all have the same; 1: one has all."""
    n, total = len(ascending), float(ascending.sum())
    return float((2 * np.arange(1, n + 1) - n - 1) @ ascending / (n * total))
