"""Request points: moments in a user's past when a request could have come, and what the user rated next.

The input of a model is what a request sees, the past as of its second (`data_exchange_center.history`); the events from
that second on say what was wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import BREAK_S, LONG_AGO_S, Float32, Requests, regimes
from data_exchange_center.history import first_of_second
from offline.data.sequences import Ints, Sequences

LATER_S = (LONG_AGO_S, 30 * 365 * 86_400)  # how much later a request comes in `with_late_returns`


@dataclass(frozen=True)
class Points:
    """m request points."""

    users: Ints  # (m,) positions in ``Sequences.userids``
    positions: Ints  # (m,) how many of the user's events the request sees: all before the one of that position
    times: Ints  # (m,) seconds of the request

    def take(self, index: Ints | NDArray[np.bool_]) -> Points:
        return Points(self.users[index], self.positions[index], self.times[index])

    def __len__(self) -> int:
        return len(self.users)


def request_points(data: Sequences, stride: int, rng: np.random.Generator) -> Points:
    """The second of every ``stride``-th event of each user from a random phase, and of every return after a break.

    A second has one request at most, a user's first second none.
    """
    users, positions = data.users, data.positions
    phase = rng.integers(0, stride, data.n_users)[users]
    chosen = ((positions + phase) % stride == 0) | data.begins_session  # a user's first event is left out below
    event = np.unique(first_of_second(users, data.times)[chosen])
    event = event[positions[event] > 0]
    return Points(users[event], positions[event], data.times[event])


def with_late_returns(data: Sequences, points: Points, rng: np.random.Generator) -> Points:
    """Add, right behind every return after a break, a copy that comes years later, up to thirty, and sees the same.

    So a ranker learns what to answer where the clock says nothing, as for a request of today over old data. The time
    that has passed is drawn evenly on a logarithmic scale: one number for each point, return or not.
    """
    soonest, latest = np.log(LATER_S)
    passed = np.exp(rng.uniform(soonest, latest, len(points))).astype(np.int64)
    newest = data.times[data.starts[points.users] + points.positions - 1]  # of the events that each request sees
    returns = np.flatnonzero(points.times - newest >= BREAK_S)
    index = np.concatenate([np.arange(len(points)), returns])
    late = np.arange(len(index)) >= len(points)
    order = np.argsort(index, kind="stable")
    both = points.take(index[order])
    return replace(both, times=both.times + np.where(late, passed[index], 0)[order])


def histories(data: Sequences, points: Points, length: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Histories that the requests see, newest first: codes, ratings, ages in seconds (m, length); regimes (m,)."""
    items, ratings, times = data.histories_at(points.users, points.positions, length)
    ages = np.where(items > 0, points.times[:, None] - times, 0)
    return items, ratings, ages, regimes(points.times, times[:, 0], items[:, 0] > 0)


def requests_at(
    data: Sequences, points: Points, profiles: Ints, events: int, stored: Mapping[str, Float32]
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


def next_events(data: Sequences, points: Points, horizon: int) -> tuple[Ints, NDArray[np.bool_]]:
    """The first ``horizon`` events from each request on: codes (m, horizon), 0 after the user's last; whether liked,
    and a target."""
    event = (data.starts[points.users] + points.positions)[:, None] + np.arange(horizon)
    there = event < data.starts[points.users + 1][:, None]
    event = np.where(there, event, 0)
    return np.where(there, data.items[event], 0), data.liked[event] & data.targets[event] & there


def seen_before(data: Sequences, points: Points) -> tuple[Ints, Ints]:
    """(row, item code) of everything that each request sees as rated, and so is not recommended: none
    where items may be had again."""
    counts = np.zeros_like(points.positions) if data.had_again else points.positions
    rows = np.repeat(np.arange(len(points)), counts)
    first = np.repeat(data.starts[points.users] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return rows, data.items[np.arange(int(counts.sum())) + first]
