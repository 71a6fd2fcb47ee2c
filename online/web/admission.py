"""How many requests a worker takes in hand at once: as many as it can still answer well within their time.

More requests at once do not make more answers a second, only slower ones, until none is whole within its budget. How
many are too many depends on the machine and on the services, so it is found out as TCP finds out its rate (additive
increase, multiplicative decrease): each answer that came well in time allows a little more, each that did not takes a
good part away. A thread that is free is always used: answers may be slow because a service is, not because there are
many. And what is known grows old: places come back with time, too, all within a minute.

That keeps answers within their budget. Where far more come than can be answered, those that are taken need not wait at
all: somebody else is there as soon as one is answered. So while a good part is turned away, nobody waits, and three
quarters of the threads work: nearly as many answers a second, in far less time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from online.web.in_hand import PLACES_PER_THREAD, WATCHERS

WELL_IN_TIME: Final = 0.6  # share of the budget
DECREASE: Final = 0.75
CROWDED: Final = 0.25  # share of those who come that is turned away
THREADS_THEN: Final = 0.75  # share of the threads that work
_REMEMBERS_S: Final = 1.0  # who came, and who was turned away
_KNOWN_BY: Final = 8  # so many
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
        self._recovered_at = self._noted_at = self.clock()
        self._came = self._turned_away = 0.0  # lately

    @property
    def limit(self) -> int:
        """How many patient clients and others together may be in hand when one more of the others is taken."""
        return max(1, round(THREADS_THEN * self.threads)) if self._crowded else int(self._limit)

    @property
    def _crowded(self) -> bool:
        return self._came >= _KNOWN_BY and self._turned_away > CROWDED * self._came

    def takes(self, *, watches: bool, patient: bool) -> bool:
        """Whether one more request is taken.

        Args:
            watches: it asks how the server is.
            patient: it waits for a whole answer as long as that takes.
        """
        self._recover()
        if watches:
            return self.in_hand < self._most + WATCHERS
        if patient:
            return self.in_hand < self._most
        takes = self.in_hand < self.limit
        self._note(turned_away=not takes)
        return takes

    def _note(self, *, turned_away: bool) -> None:
        now = self.clock()
        fade = math.exp((self._noted_at - now) / _REMEMBERS_S)
        self._came = fade * self._came + 1
        self._turned_away = fade * self._turned_away + turned_away
        self._noted_at = now

    def taken(self) -> None:
        self.in_hand += 1

    def answered(self, seconds: float, *, patient: bool, budget_s: float = 0.0) -> None:
        """A request left the hand, so long after it had arrived. How long a patient one took says nothing.

        ``budget_s``: that the request asked for. A longer one than the others have may be used up to the same part.
        """
        full = self.in_hand >= int(self._limit)
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
