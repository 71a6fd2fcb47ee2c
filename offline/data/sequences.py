"""Every user's ratings in order, as flat arrays, and request points: moments when a request could have come.

Sequence models, item-item models and evaluation read them. Items are *codes*: 1..n in the order of the items'
numbers; 0 is padding and stands for "no item". The input of a model is what a request sees, the past as of its second
(`data_exchange_center.history`); the events from that second on give the targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import features, fusion, history
from data_exchange_center.channels import (
    BREAK_S,
    LONG_AGO_S,
    Float32,
    Requests,
    regimes,
)
from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import Dataset
from offline.data import terms

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
LATER_S = (
    LONG_AGO_S,
    30 * 365 * 86_400,
)  # how much later a request comes in `augment_long_absences`


@dataclass(frozen=True)
class Sequences:
    """Ratings of all users, user after user, each user's oldest first."""

    user_numbers: Ints  # (users,) ascending
    item_numbers: Ints  # (items,) ascending; that of code c is ``item_numbers[c - 1]``
    starts: Ints  # (users + 1,) user u's events are ``starts[u]:starts[u + 1]``
    items: Ints  # (events,) item codes
    ratings: Ints  # (events,) codes of `Dataset.levels`, from 1
    liked: NDArray[np.bool_]  # (events,) whether the rating is a click
    times: Ints  # (events,) seconds
    # (events,) whether it is feedback from a server, which trains whatever its place; None: there is none
    recorded: NDArray[np.bool_] | None = None
    allows_repeats: bool = False  # as `Dataset.allows_repeats`

    @property
    def n_users(self) -> int:
        return len(self.user_numbers)

    @property
    def n_items(self) -> int:
        return len(self.item_numbers)

    @property
    def lengths(self) -> Ints:
        return np.diff(self.starts)

    @property
    def newest(self) -> Ints:
        """(users,) number of events in each user's last second."""
        last = np.repeat(self.times[self.starts[1:] - 1], self.lengths)
        return np.bincount(self.users[self.times == last], minlength=self.n_users)

    @property
    def users(self) -> Ints:
        """(events,) position of each event's user in ``user_numbers``."""
        return np.repeat(np.arange(self.n_users), self.lengths)

    @property
    def positions(self) -> Ints:
        """(events,) how many events of the same user come before each event."""
        return np.arange(len(self.items)) - np.repeat(self.starts[:-1], self.lengths)

    def select(self, keep: NDArray[np.bool_]) -> "Sequences":
        """The same users and items with some of the events. ``keep``: (events,)."""
        lengths = np.bincount(self.users[keep], minlength=self.n_users)
        kept = {
            name: getattr(self, name)[keep]
            for name in ("items", "ratings", "liked", "times")
        }
        recorded = None if self.recorded is None else self.recorded[keep]
        return replace(
            self,
            starts=np.concatenate([[0], np.cumsum(lengths)]),
            recorded=recorded,
            **kept,
        )

    def earlier_lengths(self, share: float) -> Ints:
        """(users,) number of events in the first ``share`` of each user's, rounded down."""
        lengths: Ints = np.floor(share * self.lengths).astype(np.int64)
        return lengths

    def earlier(self, share: float) -> "Sequences":
        """The first ``share`` of each user's events."""
        return self.select(
            self.positions < np.repeat(self.earlier_lengths(share), self.lengths)
        )

    def before_last(self, n: int | Ints) -> "Sequences":
        """All but each user's last ``n`` events; a number for all, or (users,)."""
        return self.select(self.positions < np.repeat(self.lengths - n, self.lengths))

    def last(self, n: int | Ints) -> "Sequences":
        """Each user's last ``n`` events, which `before_last` leaves out."""
        return self.select(self.positions >= np.repeat(self.lengths - n, self.lengths))

    def seen(self) -> sp.csr_matrix:
        """(users, items + 1) 1 where a user rated an item."""
        ones = np.ones(len(self.items), dtype=np.float32)
        matrix = sp.csr_matrix(
            (ones, self.items, self.starts), shape=(self.n_users, self.n_items + 1)
        )
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    def left_out(self) -> sp.csr_matrix:
        """(users, items + 1) 1 where an item is never recommended to a user: the seen ones, none with repeats."""
        return (
            self.select(np.zeros(len(self.items), np.bool_)).seen()
            if self.allows_repeats
            else self.seen()
        )

    def liked_together(self) -> sp.csr_matrix:
        """(items + 1, items + 1) co-occurrence: how many users liked both items; on the diagonal, the one item."""
        liked = self.select(self.liked).seen().astype(np.int32)  # (users, items + 1)
        counts = sp.csr_matrix(liked.T @ liked)
        counts.sort_indices()
        return counts

    def followers(self, window: int) -> sp.csr_matrix:
        """(items + 1, items + 1) how often the column's item was liked within ``window`` events after the row's."""
        size, users = self.n_items + 1, self.users
        before, after = [self.items[:0]], [self.items[:0]]
        for lag in range(1, min(window, len(users) - 1) + 1):
            pairs = (users[lag:] == users[:-lag]) & self.liked[lag:]
            before.append(self.items[:-lag][pairs])
            after.append(self.items[lag:][pairs])
        where = np.concatenate(before), np.concatenate(after)
        counts = sp.csr_matrix(
            (np.ones(len(where[0]), np.int32), where), shape=(size, size)
        )
        counts.sum_duplicates()
        return counts

    @cached_property
    def targets(self) -> NDArray[np.bool_]:
        """(events,) whether an event can be a target: its user's first with the item, or any if repeats are allowed."""
        if self.allows_repeats:
            return np.ones(len(self.items), dtype=np.bool_)
        pairs = self.users * (self.n_items + 1) + self.items
        first = np.zeros(len(pairs), dtype=np.bool_)
        first[np.unique(pairs, return_index=True)[1]] = True
        return first

    def rated(self) -> NDArray[np.bool_]:
        """(items + 1,) whether anybody rated an item."""
        return np.bincount(self.items, minlength=self.n_items + 1) > 0

    def histories_at(
        self, users: Ints, positions: Ints, length: int
    ) -> tuple[Ints, Ints, Ints]:
        """Events that ``users`` (m,) had before their event ``positions`` (m,), newest first.

        Returns item codes, ratings and times, (m, length) each, padded with 0 on the right.
        """
        # (m, length)
        event = (self.starts[users] + positions)[:, None] - 1 - np.arange(length)
        there = event >= self.starts[users][:, None]
        items, ratings, times = (
            np.zeros(event.shape, dtype=np.int64) for _ in range(3)
        )
        for filled, column in (
            (items, self.items),
            (ratings, self.ratings),
            (times, self.times),
        ):
            filled[there] = column[event[there]]
        return items, ratings, times


def sequences(
    ratings: pd.DataFrame,
    item_numbers: NDArray[np.integer] | list[int],
    positive_level: int,
    user_numbers: NDArray[np.integer] | list[int] | None = None,
    allows_repeats: bool = False,
) -> Sequences:
    """Build `Sequences` from a ratings table that is sorted by user and time.

    Args:
        item_numbers: all items, with ratings or without.
        positive_level: ratings above it are liked.
        user_numbers: all users, with ratings or without; None: those with ratings.
        allows_repeats: as `Dataset.allows_repeats`.

    Raises:
        ValueError: an item or a user is not among these, or the rows are not sorted by user.
    """
    vocabulary = fusion.Vocabulary.of(np.asarray(item_numbers, dtype=np.int64))
    users = ratings[Columns.USER].to_numpy(dtype=np.int64)
    if np.any(np.diff(users) < 0):
        raise ValueError("ratings are not sorted by user")
    raw = ratings[Columns.ITEM].to_numpy(dtype=np.int64)
    codes = vocabulary.codes(raw)
    if not codes.all():
        raise ValueError(
            f"ratings hold item {raw[codes == 0][0]}, which is not among the items"
        )
    known = np.unique(
        users if user_numbers is None else np.asarray(user_numbers, dtype=np.int64)
    )
    if not np.isin(users, known).all():
        raise ValueError(
            f"ratings hold user {users[~np.isin(users, known)][0]}, who is not among the users"
        )
    counts = np.bincount(np.searchsorted(known, users), minlength=len(known))
    values = ratings[Columns.RATING].to_numpy(dtype=np.int64)
    return Sequences(
        user_numbers=known,
        item_numbers=vocabulary.ids,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        items=codes,
        ratings=values,
        liked=values > positive_level,
        times=ratings[Columns.TIMESTAMP].to_numpy(dtype=np.int64),
        recorded=(ratings[Columns.SPLIT] == Split.RECORDED).to_numpy()
        if Columns.SPLIT in ratings
        else None,
        allows_repeats=allows_repeats,
    )


# --- Request points


@dataclass(frozen=True)
class Points:
    """m request points."""

    users: Ints  # (m,) positions in ``Sequences.user_numbers``
    positions: Ints  # (m,) how many of the user's events the request sees: all before the one of that position
    times: Ints  # (m,) seconds of the request

    def take(self, index: Ints | NDArray[np.bool_]) -> "Points":
        return Points(self.users[index], self.positions[index], self.times[index])

    def __len__(self) -> int:
        return len(self.users)


def request_points(data: Sequences, stride: int, rng: np.random.Generator) -> Points:
    """Draw requests: at every ``stride``-th event of each user, from a random phase, and at every return after a break.

    A user has at most one request in a second, and none in the first.
    """
    users, positions = data.users, data.positions
    phase = rng.integers(0, stride, data.n_users)[users]
    # or another user's; first events are left out
    returns = np.diff(data.times, prepend=data.times[:1]) >= BREAK_S
    chosen = ((positions + phase) % stride == 0) | returns
    event = np.unique(history.first_of_second(users, data.times)[chosen])
    event = event[positions[event] > 0]
    return Points(users[event], positions[event], data.times[event])


def augment_long_absences(
    data: Sequences, points: Points, rng: np.random.Generator
) -> Points:
    """Add, right behind every return after a break, a copy that comes years later, up to thirty, and sees the same.

    They train a ranker for requests long after the end of the data, whose elapsed time carries no information. Delays
    are log-uniform from 2 to 30 years, and drawn for every point, so that draws do not depend on which are returns.
    """
    soonest, latest = np.log(LATER_S)
    passed = np.exp(rng.uniform(soonest, latest, len(points))).astype(np.int64)
    # of the events that each request sees
    newest = data.times[data.starts[points.users] + points.positions - 1]
    returns = np.flatnonzero(points.times - newest >= BREAK_S)
    index = np.concatenate([np.arange(len(points)), returns])
    late = np.arange(len(index)) >= len(points)
    order = np.argsort(index, kind="stable")
    both = points.take(index[order])
    return replace(both, times=both.times + np.where(late, passed[index], 0)[order])


def histories(
    data: Sequences, points: Points, length: int
) -> tuple[Ints, Ints, Ints, Ints]:
    """Histories that the requests see, newest first: codes, ratings, ages in seconds (m, length); regimes (m,)."""
    items, ratings, times = data.histories_at(points.users, points.positions, length)
    ages = np.where(items > 0, points.times[:, None] - times, 0)
    return items, ratings, ages, regimes(points.times, times[:, 0], items[:, 0] > 0)


def requests_at(
    data: Sequences,
    points: Points,
    profiles: Ints,
    events: int,
    stored: Mapping[str, Float32],
) -> Requests:
    """Inputs of a channel for each request.

    Args:
        profiles: (users, fields) codes.
        events: newest events to bring.
        stored: channel name -> (users, d) vectors.
    """
    items, ratings, times = data.histories_at(points.users, points.positions, events)
    return Requests(
        items=items,
        ratings=ratings,
        times=times,
        lengths=np.minimum(points.positions, events),
        profiles=profiles[points.users],
        timestamps=points.times,
        stored={name: vectors[points.users] for name, vectors in stored.items()},
    )


def next_events(
    data: Sequences, points: Points, horizon: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """The first ``horizon`` events from each request on, (m, horizon) each: codes, 0 after the user's last; whether
    liked and a target."""
    event = (data.starts[points.users] + points.positions)[:, None] + np.arange(horizon)
    there = event < data.starts[points.users + 1][:, None]
    event = np.where(there, event, 0)
    return np.where(there, data.items[event], 0), data.liked[event] & data.targets[
        event
    ] & there


def seen_before(data: Sequences, points: Points) -> tuple[Ints, Ints]:
    """(row, item code) pairs of the items rated before each request, to leave out; none where repeats are allowed."""
    counts = (
        np.zeros_like(points.positions) if data.allows_repeats else points.positions
    )
    rows = np.repeat(np.arange(len(points)), counts)
    first = np.repeat(
        data.starts[points.users] - np.concatenate([[0], np.cumsum(counts)[:-1]]),
        counts,
    )
    return rows, data.items[np.arange(int(counts.sum())) + first]


# --- What a model is fitted on: the sequences, and the tables of users and items


@dataclass(frozen=True, eq=False)
class Inputs:
    """Training inputs: arrays by user (in the order of ``data``) or by item code, with padding in row 0."""

    dataset: Dataset  # names of the profile's columns and of the numbers, levels of the ratings
    data: Sequences  # ratings; every user and item has a place, with ratings or without
    genre_names: tuple[str, ...]  # in code order
    genres: Float32  # (items + 1, genres) 0/1
    # (items + 1, `Dataset.numbers`) values, NaN where unknown
    numbers: NDArray[np.float64]
    users: pd.DataFrame  # userid and profile, raw
    profile: tuple[features.OneHotFeature, ...]  # the profile's vocabularies
    profiles: NDArray[np.int64]  # (users, profile) codes; 0 is an unknown value


def make_inputs(
    ratings: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame, dataset: Dataset
) -> Inputs:
    """Tables as in `artifacts.RATINGS`, `artifacts.USERS` and `artifacts.ITEMS` -> `Inputs`.

    ``ratings`` are those that may be known; all users and items keep their place, with ratings or without.
    """
    items, users = items.sort_values(Columns.ITEM), users.sort_values(Columns.USER)
    item_numbers, user_numbers = (
        items[Columns.ITEM].to_numpy(),
        users[Columns.USER].to_numpy(),
    )
    genres = terms.genre_names(items)
    flags = terms.genre_flags(
        terms.genre_codes(items, genres)[Columns.GENRES], len(genres)
    )
    profile = tuple(
        features.one_hot(name, "user", users[name].tolist()) for name in dataset.profile
    )
    numbers = items[[number.column for number in dataset.numbers]].to_numpy(np.float64)
    return Inputs(
        dataset=dataset,
        data=sequences(
            ratings,
            item_numbers,
            dataset.positive_level,
            user_numbers,
            dataset.allows_repeats,
        ),
        genre_names=tuple(genres),
        genres=np.vstack([np.zeros((1, len(genres))), flags]).astype(np.float32),
        numbers=np.vstack([np.full((1, numbers.shape[1]), np.nan), numbers]),
        users=users[[Columns.USER, *dataset.profile]],
        profile=profile,
        profiles=profile_codes(profile, users),
    )


def profile_codes(
    profile: Sequence[features.OneHotFeature], users: pd.DataFrame
) -> NDArray[np.int64]:
    """(users, profile) codes; no columns where there is no profile."""
    codes = [feature.encode(users[feature.name].to_numpy()) for feature in profile]
    return (
        np.stack(codes, axis=1).astype(np.int64)
        if codes
        else np.zeros((len(users), 0), dtype=np.int64)
    )


def user_states(
    ratings: pd.DataFrame,
    users: pd.DataFrame,
    profile: Sequence[features.OneHotFeature],
) -> pd.DataFrame:
    """`artifacts.USER_STATE`: profile codes and events, newest first, from which a request's vectors are made.

    Args:
        ratings: sorted by user and time, without the held-out ones.
        users: as `artifacts.USERS`; each has a row, with ratings or without.
        profile: the profile's vocabularies.
    """
    # each user's rows are begins:ends, none without ratings
    begins = np.searchsorted(ratings[Columns.USER], users[Columns.USER])
    ends = np.searchsorted(ratings[Columns.USER], users[Columns.USER], side="right")

    table = {
        Columns.USER: users[Columns.USER].to_numpy(),
        Columns.PROFILE: list(profile_codes(profile, users)),
    }
    columns = {
        Columns.ITEMS: Columns.ITEM,
        Columns.RATINGS: Columns.RATING,
        Columns.TIMES: Columns.TIMESTAMP,
    }
    for name, column in columns.items():
        values = ratings[column].to_numpy()
        table[name] = [
            values[begin:end][::-1] for begin, end in zip(begins, ends, strict=True)
        ]
    return pd.DataFrame(table)
