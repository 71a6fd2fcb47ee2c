"""Request points: moments in a user's past when a request could have come, and what the user rated next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import BREAK_S, regimes
from offline.data.sequences import Ints, Sequences


@dataclass(frozen=True)
class Points:
    """(m,) users and positions: the request comes right before the user's event of that position."""

    users: Ints
    positions: Ints

    def take(self, index: Ints | NDArray[np.bool_]) -> Points:
        return Points(self.users[index], self.positions[index])

    def __len__(self) -> int:
        return len(self.users)


def request_points(data: Sequences, stride: int, rng: np.random.Generator) -> Points:
    """Every ``stride``-th event of each user from a random phase, and every return after a break; never the first."""
    positions = data.positions
    phase = rng.integers(0, stride, data.n_users)[data.users]
    returns = np.diff(data.times, prepend=data.times[:1]) >= BREAK_S  # the first event of a user is left out below
    event = np.flatnonzero((((positions + phase) % stride == 0) | returns) & (positions > 0))
    return Points(data.users[event], positions[event])


def histories(data: Sequences, points: Points, length: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Events strictly before each point, newest first: codes, ratings, ages in seconds (m, length); regimes (m,)."""
    items, ratings, times = data.histories_at(points.users, points.positions, length)
    now = data.times[data.starts[points.users] + points.positions]
    ages = np.where(items > 0, now[:, None] - times, 0)
    return items, ratings, ages, regimes(now, times[:, 0], items[:, 0] > 0)


def next_events(data: Sequences, points: Points, horizon: int) -> tuple[Ints, NDArray[np.bool_]]:
    """The ``horizon`` events from each point on: codes (m, horizon), 0 after the user's last; whether liked."""
    event = (data.starts[points.users] + points.positions)[:, None] + np.arange(horizon)
    there = event < data.starts[points.users + 1][:, None]
    event = np.where(there, event, 0)
    return np.where(there, data.items[event], 0), data.liked[event] & there


def seen_before(data: Sequences, points: Points) -> tuple[Ints, Ints]:
    """(row, item code) of everything rated strictly before each point."""
    counts = points.positions
    rows = np.repeat(np.arange(len(points)), counts)
    first = np.repeat(data.starts[points.users] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return rows, data.items[np.arange(int(counts.sum())) + first]
