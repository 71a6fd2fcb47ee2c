"""Every user's ratings in order, as flat arrays: what sequence models, item-item models and evaluation read.

Items are *codes*: 1..n in the order of a vocabulary of itemids; 0 is padding and stands for "no item".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center.columns import Columns, Split
from offline.data import pairs

Ints = NDArray[np.int64]
PADDING = 0


class PairsElsewhere(Protocol):
    """Counts what `pairs` defines of the events of some sequences, without reading them."""

    def seen_together(self) -> sp.csr_matrix: ...

    def followers(self, window: int) -> sp.csr_matrix: ...

    def earlier(self, share: float) -> PairsElsewhere | None:
        """Of the first ``share`` of each user's events; None where it cannot be said."""
        ...


@dataclass(frozen=True)
class Sequences:
    """Ratings of all users, user after user, each user's oldest first.

    Attributes:
        userids: (users,) ascending.
        itemids: (items,) itemid of code c is ``itemids[c - 1]``.
        starts: (users + 1,) user u's events are ``starts[u]:starts[u + 1]``.
        items: (events,) item codes.
        ratings: (events,) codes of `Dataset.levels`, from 1.
        liked: (events,) whether the rating is a click.
        times: (events,) seconds.
        recorded: (events,) whether a server was told it, so that it trains whatever its place; None: it was of none.
        elsewhere: counts pairs of these events where they are not all in one memory; None: they are counted here.
    """

    userids: Ints
    itemids: Ints
    starts: Ints
    items: Ints
    ratings: Ints
    liked: NDArray[np.bool_]
    times: Ints
    recorded: NDArray[np.bool_] | None = None
    elsewhere: PairsElsewhere | None = None

    @property
    def n_users(self) -> int:
        return len(self.userids)

    @property
    def n_items(self) -> int:
        return len(self.itemids)

    @property
    def lengths(self) -> Ints:
        return np.diff(self.starts)

    @property
    def users(self) -> Ints:
        """(events,) position of each event's user in ``userids``."""
        return np.repeat(np.arange(self.n_users), self.lengths)

    @property
    def positions(self) -> Ints:
        """(events,) how many events of the same user come before each event."""
        return np.arange(len(self.items)) - np.repeat(self.starts[:-1], self.lengths)

    def select(self, keep: NDArray[np.bool_]) -> Sequences:
        """The same users and items with some of the events. ``keep``: (events,)."""
        lengths = np.bincount(self.users[keep], minlength=self.n_users)
        return replace(
            self,
            starts=np.concatenate([[0], np.cumsum(lengths)]),
            items=self.items[keep],
            ratings=self.ratings[keep],
            liked=self.liked[keep],
            times=self.times[keep],
            recorded=None if self.recorded is None else self.recorded[keep],
            elsewhere=None,
        )

    def earlier_lengths(self, share: float) -> Ints:
        """(users,) how many events the first ``share`` of each user's are."""
        lengths: Ints = np.floor(share * self.lengths).astype(np.int64)
        return lengths

    def earlier(self, share: float) -> Sequences:
        """The first ``share`` of each user's events."""
        first = self.select(self.positions < np.repeat(self.earlier_lengths(share), self.lengths))
        return replace(first, elsewhere=self.elsewhere.earlier(share)) if self.elsewhere else first

    def before_last(self, n: int | Ints) -> Sequences:
        """All but each user's last ``n`` events; a number for all, or (users,)."""
        return self.select(self.positions < np.repeat(self.lengths - n, self.lengths))

    def last(self, n: int | Ints) -> Sequences:
        """Each user's last ``n`` events; a number for all, or (users,)."""
        return self.select(self.positions >= np.repeat(self.lengths - n, self.lengths))

    def seen(self) -> sp.csr_matrix:
        """(users, items + 1) 1 where a user rated an item."""
        ones = np.ones(len(self.items), dtype=np.float32)
        matrix = sp.csr_matrix((ones, self.items, self.starts), shape=(self.n_users, self.n_items + 1))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    def seen_together(self) -> sp.csr_matrix:
        """`pairs.seen_together`."""
        return self.elsewhere.seen_together() if self.elsewhere else pairs.seen_together(self)

    def followers(self, window: int) -> sp.csr_matrix:
        """`pairs.followers`."""
        return self.elsewhere.followers(window) if self.elsewhere else pairs.followers(self, window)

    @cached_property
    def first_of_pair(self) -> NDArray[np.bool_]:
        """(events,) whether the event is its user's first with the item: the same item again is no target, as what was
        seen is not recommended."""
        pairs = self.users * (self.n_items + 1) + self.items
        first = np.zeros(len(pairs), dtype=np.bool_)
        first[np.unique(pairs, return_index=True)[1]] = True
        return first

    def rated(self) -> NDArray[np.bool_]:
        """(items + 1,) whether anybody rated an item."""
        return np.bincount(self.items, minlength=self.n_items + 1) > 0

    def histories(self, length: int) -> tuple[Ints, Ints, Ints]:
        """Each user's last ``length`` events, newest first: item codes, ratings and times, each (users, length).

        Shorter histories are padded with 0 on the right.
        """
        return self.histories_at(np.arange(self.n_users), self.lengths, length)

    def histories_at(self, users: Ints, positions: Ints, length: int) -> tuple[Ints, Ints, Ints]:
        """What ``users`` (m,) rated before their event ``positions`` (m,): newest first, (m, length) each."""
        event = (self.starts[users] + positions)[:, None] - 1 - np.arange(length)  # (m, length)
        there = event >= self.starts[users][:, None]
        items, ratings, times = (np.zeros(event.shape, dtype=np.int64) for _ in range(3))
        for filled, column in ((items, self.items), (ratings, self.ratings), (times, self.times)):
            filled[there] = column[event[there]]
        return items, ratings, times


def sequences(
    ratings: pd.DataFrame,
    itemids: NDArray[np.integer] | list[int],
    positive_level: int,
    userids: NDArray[np.integer] | list[int] | None = None,
) -> Sequences:
    """Sequences of a ratings table that is sorted by user and time.

    Args:
        positive_level: ratings above it are liked.
        userids: all users, with ratings or without; None: those with ratings.

    Raises:
        ValueError: an item is not in ``itemids`` or a user not in ``userids``, or the rows are not sorted by user.
    """
    vocabulary = np.sort(np.asarray(itemids, dtype=np.int64))
    users = ratings[Columns.USER].to_numpy(dtype=np.int64)
    if np.any(np.diff(users) < 0):
        raise ValueError("ratings are not sorted by user")
    raw = ratings[Columns.ITEM].to_numpy(dtype=np.int64)
    codes = np.minimum(np.searchsorted(vocabulary, raw), len(vocabulary) - 1)
    if np.any(vocabulary[codes] != raw):
        raise ValueError(f"ratings hold item {raw[vocabulary[codes] != raw][0]}, which is not among the items")
    known = np.unique(users if userids is None else np.asarray(userids, dtype=np.int64))
    if not np.isin(users, known).all():
        raise ValueError(f"ratings hold user {users[~np.isin(users, known)][0]}, who is not among the users")
    counts = np.bincount(np.searchsorted(known, users), minlength=len(known))
    values = ratings[Columns.RATING].to_numpy(dtype=np.int64)
    return Sequences(
        userids=known,
        itemids=vocabulary,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        items=codes + 1,
        ratings=values,
        liked=values > positive_level,
        times=ratings[Columns.TIMESTAMP].to_numpy(dtype=np.int64),
        recorded=(ratings[Columns.SPLIT] == Split.RECORDED).to_numpy() if Columns.SPLIT in ratings else None,
    )
