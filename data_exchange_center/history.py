"""User history and the point-in-time rule: which of a user's events a request at a given second sees.

A request at second t sees the user's events before t, none of t itself: times are whole seconds, people rate several
films of one page within the same second, and a file's order does not say which came first. Training points, statistics
of a rating, the holdout and requests that name their time all follow this rule. Two exceptions: a request that names
no time sees all events acknowledged before it, those of its own second too, as their order is known; and statistics
that are stored for serving (`n_ratings`) are of the whole past.

Events are cut by the second in `sequences.py` (histories), `terms.py`, `s1_feature_engi.py`, `list_ranker.py`,
`extras/replay.py` (evaluation) and, in serving, `StoredUser.current`; the held-out events are left out in `readers.py`;
what the ranker is trained on comes after what its features and recall know, in `lists.py`. The rule holds for the
user's own events. Models and statistics fitted over all users (channels, item statistics) end at a share of each user's
events, so they may know later events of others; the evaluation's protocol *one moment* excludes these.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
_EVENT = np.dtype([("number", "<i4"), ("rating", "u1"), ("time", "<i8")])


def visible_at(times: Ints, second: int | Ints) -> NDArray[np.bool_]:
    """Mask of ``times`` (seconds, any shape): True where a request at ``second`` sees the event."""
    seen: NDArray[np.bool_] = np.asarray(times) < second
    return seen


def first_of_second(users: Ints, times: Ints) -> NDArray[np.int64]:
    """(n,) events sorted by user and time -> (n,) index of the first event of the same user and second.

    A request at the event's time sees the user's events before that one.
    """
    begins = np.ones(len(users), dtype=np.bool_)
    begins[1:] = (users[1:] != users[:-1]) | (times[1:] != times[:-1])
    first: NDArray[np.int64] = np.maximum.accumulate(
        np.where(begins, np.arange(len(users)), 0)
    )
    return first


@dataclass(frozen=True, eq=False)
class History:
    """One user's events, newest first."""

    item_numbers: NDArray[np.int64]  # (n,)
    ratings: NDArray[np.int64]  # (n,) codes of `Dataset.levels`, from 1
    times: NDArray[np.int64]  # (n,) seconds since 1970-01-01 UTC

    def __len__(self) -> int:
        return len(self.item_numbers)

    def as_of(self, second: int) -> "History":
        """The events that a request at ``second`` sees."""
        seen = visible_at(self.times, second)
        return (
            self
            if seen.all()
            else History(self.item_numbers[seen], self.ratings[seen], self.times[seen])
        )

    def pack(self) -> bytes:
        """Serialize in 13 bytes an event: item number, rating, time."""
        events = np.empty(len(self), dtype=_EVENT)
        events["number"], events["rating"], events["time"] = (
            self.item_numbers,
            self.ratings,
            self.times,
        )
        return events.tobytes()

    @classmethod
    def unpack(cls, raw: bytes) -> "History":
        """Inverse of `pack`. Raises ValueError when ``raw`` is no whole number of events."""
        events = np.frombuffer(raw, dtype=_EVENT)
        return cls(
            *(events[name].astype(np.int64) for name in ("number", "rating", "time"))
        )

    @classmethod
    def empty(cls) -> "History":
        return cls.unpack(b"")


def state_as_of(
    history: History,
    seen: NDArray[np.int32],
    second: int | None,
    had: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
) -> tuple[History, NDArray[np.int32]]:
    """A user's history and seen items as a request at ``second`` sees them; None: all of them.

    ``had``: `Dataset.had`.
    """
    if second is None:
        return history, seen
    known = history.as_of(second)
    had_now = history.item_numbers[had(history.ratings)]
    had_then = known.item_numbers[had(known.ratings)]
    return known, seen[~np.isin(seen, np.setdiff1d(had_now, had_then))]
