"""Every user's ratings in order, as flat arrays, and request points: moments when a request could have come.

Sequence models, item-item models and evaluation read them. Items are *codes*: 1..n in the order of the items'
numbers; 0 is padding and stands for "no item". The input of a model is what a request sees, the past as of its second
(`data_exchange_center.history`); the events from that second on give the targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import event_types, features, fusion, history
from data_exchange_center.channels import (
    BREAK_S,
    LONG_AGO_S,
    Channel,
    Float32,
    Requests,
    StoredVectors,
)
from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import Dataset
from data_exchange_center.event_types import EventType
from offline.data import terms

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
# how much later a request comes in `augment_long_absences`
LATER_S = (LONG_AGO_S, 30 * 365 * 86_400)


@dataclass(frozen=True)
class Sequences:
    """Ratings of all users, user after user, each user's oldest first."""

    user_numbers: Ints  # (users,) ascending
    item_numbers: Ints  # (items,) ascending; that of code c is ``item_numbers[c - 1]``
    starts: Ints  # (users + 1,) user u's events are ``starts[u]:starts[u + 1]``
    items: Ints  # (events,) item codes
    ratings: Ints  # (events,) codes of `Dataset.levels`, from 1
    liked: Bools  # (events,) whether the rating is a click
    times: Ints  # (events,) seconds
    # (events,) whether it is feedback from a server, which trains whatever its place; None: there is none
    recorded: Bools | None = None
    allows_repeats: bool = False  # as `Dataset.allows_repeats`
    types: tuple[EventType, ...] = ()  # as `Dataset.types`

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

    def select(self, keep: Bools) -> "Sequences":
        """The same users and items with some of the events. ``keep``: (events,)."""
        lengths = np.bincount(self.users[keep], minlength=self.n_users)
        return replace(
            self,
            starts=np.append(0, np.cumsum(lengths)),
            items=self.items[keep],
            ratings=self.ratings[keep],
            liked=self.liked[keep],
            times=self.times[keep],
            recorded=None if self.recorded is None else self.recorded[keep],
        )

    def earlier_lengths(self, share: float) -> Ints:
        """(users,) number of events in the first ``share`` of each user's, rounded down."""
        lengths: Ints = np.floor(share * self.lengths).astype(np.int64)
        return lengths

    def earlier(self, share: float) -> "Sequences":
        """The first ``share`` of each user's events."""
        return self.before_last(self.lengths - self.earlier_lengths(share))

    def before_last(self, n: int | Ints) -> "Sequences":
        """All but each user's last ``n`` events; a number for all, or (users,)."""
        return self.select(self.positions < np.repeat(self.lengths - n, self.lengths))

    def last(self, n: int | Ints) -> "Sequences":
        """Each user's last ``n`` events, which `before_last` leaves out."""
        return self.select(self.positions >= np.repeat(self.lengths - n, self.lengths))

    def seen(self) -> sp.csr_matrix:
        """(users, items + 1) 1 where a user rated an item."""
        shape = self.n_users, self.n_items + 1
        ones = np.ones(len(self.items), dtype=np.float32)
        matrix = sp.csr_matrix((ones, self.items, self.starts), shape=shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    def left_out(self) -> sp.csr_matrix:
        """(users, items + 1) 1 where an item is never recommended to a user: what the user has had."""
        return self.select(self.had).seen()

    @cached_property
    def had(self) -> Bools:
        """(events,) as `Dataset.had`."""
        return event_types.had(self.types, self.ratings, self.allows_repeats)

    def wanted(self) -> sp.csr_matrix:
        """(users, items + 1) 1 where a user liked an item; with types the largest weight of their events."""
        if not self.types:
            return self.select(self.liked).seen()
        found = self.select(np.zeros(len(self.items), np.bool_)).seen()
        for code, weight in enumerate(event_types.weights(self.types)):
            if weight > 0:
                of_type = self.select(self.ratings == code).seen()
                found = found.maximum(of_type * weight)
        return sp.csr_matrix(found)

    @cached_property
    def target_weights(self) -> Float32:
        """(events,) weight of each event's type as a target; data sets with types."""
        by_code = np.array([0, *(each.weight for each in self.types)], np.float32)
        return by_code[self.ratings]

    def liked_together(self) -> sp.csr_matrix:
        """(items + 1, items + 1) co-occurrence: how many users liked both items; on the diagonal, the one item.

        With types each user counts by the product of the two `wanted`.
        """
        if self.types:
            wanted = self.wanted()
            return sp.csr_matrix(wanted.T @ wanted)
        liked = self.select(self.liked).seen().astype(np.int32)  # (users, items + 1)
        counts = sp.csr_matrix(liked.T @ liked)
        counts.sort_indices()
        return counts

    def followers(self, window: int) -> sp.csr_matrix:
        """(items + 1, items + 1) how often the column's item was liked within ``window`` events after the row's."""
        size, users = self.n_items + 1, self.users
        read = np.ones(len(users), np.bool_)
        # how often an event counts
        times: NDArray[Any] = np.ones(len(users), np.int32)
        if self.types:
            read = event_types.weights(self.types)[self.ratings] > 0
            times = self.target_weights
        before, after, counted = [self.items[:0]], [self.items[:0]], [times[:0]]
        for lag in range(1, min(window, len(users) - 1) + 1):
            pairs = (users[lag:] == users[:-lag]) & self.liked[lag:] & read[:-lag]
            before.append(self.items[:-lag][pairs])
            after.append(self.items[lag:][pairs])
            counted.append(times[lag:][pairs])
        where = np.concatenate(before), np.concatenate(after)
        counts = sp.csr_matrix((np.concatenate(counted), where), shape=(size, size))
        counts.sum_duplicates()
        return counts

    @cached_property
    def targets(self) -> Bools:
        """(events,) whether an event can be a target: its user's first with the item, or any if repeats are allowed.

        With types: its user's first of its type with the item, which the user has not had.
        """
        events = np.arange(len(self.items))
        if self.allows_repeats:
            return np.ones(len(events), dtype=np.bool_)
        pairs = self.users * (self.n_items + 1) + self.items
        if not self.types:
            _, first = np.unique(pairs, return_index=True)
            return np.isin(events, first)
        typed = pairs * (len(self.types) + 1) + self.ratings
        _, first = np.unique(typed, return_index=True)
        _, pair = np.unique(pairs, return_inverse=True)
        first_had = np.full(len(events), len(events))
        np.minimum.at(first_had, pair[self.had], events[self.had])
        return np.isin(events, first) & (events <= first_had[pair])

    def rated(self) -> Bools:
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

        def padded(column: Ints) -> Ints:
            found = np.zeros(event.shape, dtype=np.int64)
            found[there] = column[event[there]]
            return found

        return padded(self.items), padded(self.ratings), padded(self.times)


def sequences(
    ratings: pd.DataFrame,
    item_numbers: Ints | list[int],
    positive_level: int,
    user_numbers: Ints | None = None,
    allows_repeats: bool = False,
    types: tuple[EventType, ...] = (),
) -> Sequences:
    """Build `Sequences` from a ratings table that is sorted by user and time.

    Args:
        item_numbers: all items, with ratings or without.
        positive_level: ratings above it are liked.
        user_numbers: all users, with ratings or without; None: those with ratings.
        allows_repeats, types: as in `Dataset`.

    Raises ValueError when an item is not among these.
    """
    vocabulary = fusion.Vocabulary.of(np.asarray(item_numbers, dtype=np.int64))
    numbers = ratings[Columns.ITEM].to_numpy()
    codes = vocabulary.codes(numbers)
    if not codes.all():
        raise ValueError(
            f"ratings hold item {numbers[codes == 0][0]}, which is not among the items"
        )
    users = ratings[Columns.USER].to_numpy(dtype=np.int64)
    known = np.unique(users if user_numbers is None else user_numbers)
    levels = ratings[Columns.RATING].to_numpy(dtype=np.int64)
    recorded = None
    if Columns.SPLIT in ratings:
        recorded = (ratings[Columns.SPLIT] == Split.RECORDED).to_numpy()
    return Sequences(
        user_numbers=known,
        item_numbers=vocabulary.ids,
        starts=np.append(np.searchsorted(users, known), len(users)),
        items=codes,
        ratings=levels,
        liked=levels > positive_level,
        times=ratings[Columns.TIMESTAMP].to_numpy(dtype=np.int64),
        recorded=recorded,
        allows_repeats=allows_repeats,
        types=types,
    )


# --- Request points


@dataclass(frozen=True)
class Points:
    """m request points."""

    users: Ints  # (m,) positions in ``Sequences.user_numbers``
    positions: Ints  # (m,) how many of the user's events the request sees: all before the one of that position
    times: Ints  # (m,) seconds of the request

    def take(self, index: Ints | Bools) -> "Points":
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
    returns = points.times - newest >= BREAK_S
    index = np.repeat(np.arange(len(points)), 1 + returns)
    is_copy = np.diff(index, prepend=-1) == 0
    both = points.take(index)
    return replace(both, times=both.times + np.where(is_copy, passed[index], 0))


def histories(data: Sequences, points: Points, length: int) -> tuple[Ints, Ints, Ints]:
    """Histories that the requests see, newest first: codes, ratings, ages in seconds, (m, length) each."""
    items, ratings, times = data.histories_at(points.users, points.positions, length)
    return items, ratings, np.where(items > 0, points.times[:, None] - times, 0)


def requests_at(
    data: Sequences, points: Points, profiles: Ints, channel: Channel
) -> Requests:
    """Inputs of a channel for each request. ``profiles``: (users, fields) codes."""
    length = channel.events
    items, ratings, times = data.histories_at(points.users, points.positions, length)
    stored = {}
    if isinstance(channel, StoredVectors):
        stored[channel.name] = channel.users[points.users]
    return Requests(
        items=items,
        ratings=ratings,
        times=times,
        lengths=np.minimum(points.positions, length),
        profiles=profiles[points.users],
        timestamps=points.times,
        stored=stored,
    )


def next_events(
    data: Sequences, points: Points, horizon: int
) -> tuple[Ints, Bools, Ints]:
    """The first ``horizon`` events from each request on, (m, horizon) each: codes, 0 after the user's last; whether
    liked and a target; ratings, which with types are codes of these."""
    event = (data.starts[points.users] + points.positions)[:, None] + np.arange(horizon)
    there = event < data.starts[points.users + 1][:, None]
    event = np.where(there, event, 0)
    liked = there & data.liked[event] & data.targets[event]
    items = np.where(there, data.items[event], 0)
    return items, liked, data.ratings[event]


def seen_before(data: Sequences, points: Points) -> tuple[Ints, Ints]:
    """(row, item code) pairs of the items had before each request, to leave out; none where repeats are allowed."""
    counts = points.positions * (not data.allows_repeats)
    rows = np.repeat(np.arange(len(points)), counts)
    # of a row's first pair
    begins = np.cumsum(counts) - counts
    event = np.arange(len(rows)) + (data.starts[points.users] - begins)[rows]
    if data.types:
        kept = data.had[event]
        rows, event = rows[kept], event[kept]
    return rows, data.items[event]


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
    profiles: Ints  # (users, profile) codes; 0 is an unknown value


def make_inputs(
    ratings: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame, dataset: Dataset
) -> Inputs:
    """Tables as in `artifacts.RATINGS`, `artifacts.USERS` and `artifacts.ITEMS` -> `Inputs`.

    ``ratings`` are those that may be known; all users and items keep their place, with ratings or without.
    """
    items = items.sort_values(Columns.ITEM)
    users = users.sort_values(Columns.USER)
    names = terms.genre_names(items)
    codes = terms.genre_codes(items, names)[Columns.GENRES]
    genres = terms.genre_flags(codes, len(names))
    numbers = items[[number.column for number in dataset.numbers]].to_numpy(np.float64)
    profile = tuple(
        features.one_hot(name, "user", users[name].tolist()) for name in dataset.profile
    )
    return Inputs(
        dataset=dataset,
        data=sequences(
            ratings,
            items[Columns.ITEM].to_numpy(),
            dataset.positive_level,
            users[Columns.USER].to_numpy(),
            dataset.allows_repeats,
            dataset.types,
        ),
        genre_names=tuple(names),
        genres=np.pad(genres, ((1, 0), (0, 0))).astype(np.float32),
        numbers=np.pad(numbers, ((1, 0), (0, 0)), constant_values=np.nan),
        users=users[[Columns.USER, *dataset.profile]],
        profile=profile,
        profiles=profile_codes(profile, users),
    )


def profile_codes(
    profile: Sequence[features.OneHotFeature], users: pd.DataFrame
) -> Ints:
    """(users, profile) codes."""
    codes = np.zeros((len(users), len(profile)), dtype=np.int64)
    for column, feature in enumerate(profile):
        codes[:, column] = feature.encode(users[feature.name].to_numpy())
    return codes


def user_states(
    ratings: pd.DataFrame,
    users: pd.DataFrame,
    profile: Sequence[features.OneHotFeature],
) -> pd.DataFrame:
    """`artifacts.USER_STATE`: profile codes and events, newest first, from which a request's vectors are made.

    Args:
        ratings: of these users, sorted by user and time, without the held-out ones.
        users: as `artifacts.USERS`; each has a row, with ratings or without.
        profile: the profile's vocabularies.
    """
    ends = np.searchsorted(ratings[Columns.USER], users[Columns.USER], side="right")

    def newest_first(column: str) -> list[NDArray[np.generic]]:
        of_users = np.split(ratings[column].to_numpy(), ends)[: len(users)]
        return [own[::-1] for own in of_users]

    return pd.DataFrame(
        {
            Columns.USER: users[Columns.USER].to_numpy(),
            Columns.PROFILE: list(profile_codes(profile, users)),
            Columns.ITEMS: newest_first(Columns.ITEM),
            Columns.RATINGS: newest_first(Columns.RATING),
            Columns.TIMES: newest_first(Columns.TIMESTAMP),
        }
    )
