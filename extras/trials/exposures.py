"""Exposures: which user was answered from which release, with which items; and their way to Redis.

Answers of experiments and canaries are all logged, and a sample of all others (`Sampler`). No answer
waits for that.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from pydantic import BaseModel

from data_exchange_center.dataset import OwnId
from online.clients.base import ServiceError
from online.recommend.types import Answer, Request
from online.web.guard import may_record_exposures

log = logging.getLogger(__name__)

CAPACITY: Final = 10_000  # exposures that may wait to be written
BATCH: Final = 200
# Fields of a plain request: for a user's best list, which lists of other releases can be compared with
PLAIN: Final = frozenset({"userid", "size", "budget_ms"})


class Exposure(BaseModel, frozen=True):
    """An answer that somebody was shown.

    Attributes:
        experiment: the trial's name; "": of the sample.
        arm: the user's.
        dataset: whose user it is: `Dataset.base_name`.
        release: that answered; not the arm's one while that is not loaded, or after it was deleted.
        timestamp: of the request, in seconds: outcomes happen then or later.
        answered: in milliseconds since 1970-01-01 UTC.
        items: best first.
    """

    experiment: str
    arm: str
    recommendation: str
    dataset: str
    userid: OwnId
    release: str
    timestamp: int
    answered: int
    items: tuple[OwnId, ...]

    @classmethod
    def of(
        cls,
        answer: Answer,
        request: Request,
        dataset: str,
        trial: str = "",
        arm: str = "",
    ) -> Exposure:
        """An answer that is sent now."""
        return cls(
            experiment=trial,
            arm=arm,
            recommendation=answer.recommendation,
            dataset=dataset,
            userid=request.userid,
            release=answer.release,
            timestamp=request.timestamp,
            answered=time.time_ns() // 1_000_000,
            items=tuple(answer.itemids),
        )


def is_shown(request: Request) -> bool:
    """Whether the user is shown the answer now: not one to a session, of which nothing is written, nor to an untrusted
    client, nor one as of another time."""
    given = request.model_fields_set
    return may_record_exposures() and not given & {"history", "timestamp"}


class Sampler:
    """Decides which answers the sample has: at most so many a second. Shared by threads.

    Only plain requests count. Nobody is assigned to a release here, so other kinds of requests would make releases
    look different.
    """

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._second = 0
        self._taken = 0

    def takes(self, request: Request) -> bool:
        """Whether the answer is to be recorded."""
        is_plain = request.model_fields_set <= PLAIN
        if not (is_plain and request.userid and may_record_exposures()):
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        return self._taken <= self._per_s


class ExposureQueue:
    """Exposures on their way to Redis. Shared by threads.

    While Redis is away they wait; beyond `CAPACITY` they are dropped. One whose acknowledgement was lost is written
    twice, so readers drop duplicates.
    """

    def __init__(self, write: Callable[[Sequence[Exposure]], None]) -> None:
        """``write`` raises ServiceError."""
        self._write = write
        self._waiting: deque[Exposure] = deque()
        self._writing = threading.Lock()
        atexit.register(self.close)

    def put(self, exposure: Exposure) -> None:
        """Queue an exposure. Returns at once."""
        if len(self._waiting) < CAPACITY:
            self._waiting.append(exposure)

    def flush(self) -> bool:
        """Write what waits. Raises ServiceError, after which it waits on."""
        with self._writing:
            while count := min(BATCH, len(self._waiting)):
                self._write([self._waiting[place] for place in range(count)])
                for _ in range(count):
                    self._waiting.popleft()
        return True

    def close(self) -> None:
        """Write what waits; what Redis does not take is lost."""
        atexit.unregister(self.close)
        with suppress(ServiceError):
            self.flush()
        if lost := len(self._waiting):
            log.error("%d exposures are lost: Redis did not take them", lost)
            self._waiting.clear()
