"""How many requests a worker takes in hand at once: as many as it can still answer well within their time.

More requests at once do not make more answers a second, only slower ones, until none is whole within its budget. How
many are too many depends on the machine and on the services, so it is found out as TCP finds out its rate (additive
increase, multiplicative decrease): each answer that came well in time allows a little more, each that did not takes a
good part away. A thread that is free is always used: answers may be slow because a service is, not because there are
many. And what is known grows old: places come back with time, too, all within a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from online.web.in_hand import PLACES_PER_THREAD, WATCHERS

WELL_IN_TIME: Final = 0.6  # share of the budget
DECREASE: Final = 0.75
RECOVERS_WITHIN_S: Final = 60.0  # from no places beyond the threads to all of them, when nothing is late


@dataclass
class Admission:
    """Of one worker; used by the thread of its loop alone."""

    threads: int
    budget_s: float
    clock: Callable[[], float] = time.monotonic  # seconds

    def __post_init__(self) -> None:
        self.in_hand = 0  # requests that a thread answers, or that wait for one
        self._most = PLACES_PER_THREAD * self.threads
        self._limit = float(self._most)
        self._recovered_at = self.clock()

    @property
    def limit(self) -> int:
        """How many patient clients and others together may be in hand when one more of the others is taken."""
        return int(self._limit)

    def takes(self, *, watches: bool, patient: bool) -> bool:
        """Whether one more request is taken.

        Args:
            watches: it asks how the server is.
            patient: it waits for a whole answer as long as that takes.
        """
        self._recover()
        if watches:
            return self.in_hand < self._most + WATCHERS
        return self.in_hand < (self._most if patient else self.limit)

    def taken(self) -> None:
        self.in_hand += 1

    def answered(self, seconds: float, *, patient: bool, budget_s: float = 0.0) -> None:
        """A request left the hand, so long after it had arrived. How long a patient one took says nothing.

        ``budget_s``: that the request asked for. A longer one than the others have may be used up to the same part.
        """
        full = self.in_hand >= self.limit
        self.in_hand -= 1
        if patient:
            return
        if seconds > WELL_IN_TIME * max(self.budget_s, budget_s):
            self._limit = max(self.threads, DECREASE * self._limit)
        elif full:
            self._grow(1 / self._limit)

    def _recover(self) -> None:
        now = self.clock()
        self._grow((self._most - self.threads) * (now - self._recovered_at) / RECOVERS_WITHIN_S)
        self._recovered_at = now

    def _grow(self, places: float) -> None:
        self._limit = min(self._most, self._limit + places)
