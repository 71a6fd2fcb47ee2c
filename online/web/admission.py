"""How many requests a worker takes in hand at once: as many as it can still answer well within their time.

More requests at once do not make more answers a second, only slower ones, until none is whole within its budget. How
many are too many depends on the machine and on the services, so it is found out as TCP finds out its rate (additive
increase, multiplicative decrease): each answer that came well in time allows a little more, each that did not takes a
good part away. A thread that is free is always used: answers may be slow because a service is, not because there are
many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from online.web.in_hand import PLACES_PER_THREAD, WATCHERS

WELL_IN_TIME: Final = 0.6  # share of the budget
DECREASE: Final = 0.75


@dataclass
class Admission:
    """Of one worker; used by the thread of its loop alone."""

    threads: int
    budget_s: float

    def __post_init__(self) -> None:
        self.in_hand = 0  # requests that a thread answers, or that wait for one
        self._most = PLACES_PER_THREAD * self.threads
        self._limit = float(self._most)

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
        if watches:
            return self.in_hand < self._most + WATCHERS
        return self.in_hand < (self._most if patient else self.limit)

    def taken(self) -> None:
        self.in_hand += 1

    def answered(self, seconds: float, *, patient: bool) -> None:
        """A request left the hand, so long after it had arrived. How long a patient one took says nothing."""
        full = self.in_hand >= self.limit
        self.in_hand -= 1
        if patient:
            return
        if seconds > WELL_IN_TIME * self.budget_s:
            self._limit = max(self.threads, DECREASE * min(self._limit, self.in_hand + 1))
        elif full:
            self._limit = min(self._most, self._limit + 1 / self._limit)
