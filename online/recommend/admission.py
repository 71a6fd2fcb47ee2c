"""How many requests are worked on at once: what comes beyond that is turned away while it costs nothing."""

from __future__ import annotations

import threading
from types import TracebackType

from data_exchange_center.errors import RecsysError


class OverloadedError(RecsysError):
    """More is asked at once than the process can answer in time."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("More is asked at once than this server can answer in time", "Ask again in a second.")


class Admission:
    """A place for each of ``limit`` requests. Used with ``with``; raises OverloadedError when all are taken."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.in_flight = 0
        self.turned_away = 0

    def __enter__(self) -> None:
        with self._lock:
            if self.in_flight >= self._limit:
                self.turned_away += 1
                raise OverloadedError
            self.in_flight += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self.in_flight -= 1
