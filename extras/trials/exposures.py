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
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter
from pydantic import ConfigDict, TypeAdapter

from data_exchange_center.dataset import OwnId
from online.clients.base import ServiceError
from online.recommend.outcomes import WITHOUT_A_SERVICE
from online.recommend.types import Answer, Request
from online.web.guard import may_record_exposures

log = logging.getLogger(__name__)

CAPACITY: Final = 10_000  # exposures that may wait to be written
EVERY_S: Final = 0.2
BATCH: Final = 200
AGAIN_S: Final = 5.0  # after a failure
END_S: Final = 2.0  # that the end of the process waits for the last write


# Fields of requests for other lists than a user's best
OTHER_LISTS: Final = frozenset({"timestamp", "candidates", "query", "cursor"})


@dataclass(frozen=True, slots=True)
class Exposure:
    """An answer that somebody was shown.

    Attributes:
        experiment: the trial's name; "": of the sample.
        arm: the user's.
        dataset: whose user it is: `Dataset.base_name`.
        release: that answered.
        as_dealt: False if it is not the arm's: that was not loaded, or deleted.
        timestamp: of the request, in seconds: outcomes happen then or later.
        answered: in milliseconds since 1970-01-01 UTC.
        items: best first.
        score: the ranker's, of the first item; None: it did not rank, or it is not recorded.
    """

    __pydantic_config__ = ConfigDict(extra="ignore")

    experiment: str
    arm: str
    recommendation: str
    dataset: str
    userid: OwnId
    release: str
    as_dealt: bool
    timestamp: int
    answered: int
    items: tuple[OwnId, ...]
    score: float | None = None

    @classmethod
    def of(cls, answer: Answer, request: Request, **more: Any) -> Exposure:
        """An answer that is sent now. ``more``: fields that neither it nor its request has."""
        return cls(
            recommendation=answer.recommendation,
            userid=request.userid,
            release=answer.release,
            timestamp=request.timestamp,
            answered=time.time_ns() // 1_000_000,
            items=tuple(answer.itemids),
            **more,
        )


EXPOSURE: Final = TypeAdapter(Exposure)  # reads and writes one, as JSON


def is_shown(request: Request) -> bool:
    """Whether the user is shown the answer now: not one to a session, of which nothing is written, nor to an untrusted
    client, nor one as of another time, unless the request says "experiments", too."""
    given = request.model_fields_set
    return (
        may_record_exposures()
        and "history" not in given
        and ("timestamp" not in given or "experiments" in given)
    )


def top_score(answer: Answer) -> float | None:
    """The ranker's score of the first item; None where it did not rank."""
    lacking = {each.outcome for each in answer.degraded} & WITHOUT_A_SERVICE
    if answer.cold_start or lacking or not answer.item_list:
        return None
    return answer.item_list[0].score


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
        if request.strict or request.explain or request.release or not request.userid:
            return False
        if not request.model_fields_set.isdisjoint(OTHER_LISTS):
            return False
        return is_shown(request) and self._within_rate()

    def _within_rate(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        return self._taken <= self._per_s


def counting(
    registry: CollectorRegistry, name: str, answers: str
) -> Callable[[str, int], None]:
    """Add a metric for what becomes of a queue's entries."""
    counter = Counter(
        name,
        f"{answers}, by what became of their entries in the log",
        ["result"],
        registry=registry,
    )
    return lambda result, count: counter.labels(result).inc(count)


class ExposureQueue:
    """Exposures on their way to Redis. Shared by threads; its own thread begins with the first exposure.

    While Redis is away they wait; beyond ``capacity`` they are dropped. One whose acknowledgement was lost is written
    twice, so readers drop duplicates.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Exposure]], None],
        count: Callable[[str, int], None] = lambda _, __: None,
        capacity: int = CAPACITY,
    ) -> None:
        """``write`` raises ServiceError; ``count`` gets how many were "written" and "dropped"."""
        self._write = write
        self._count = count
        self._capacity = capacity
        self._waiting: deque[Exposure] = deque()
        self._lock = threading.Lock()  # guards the thread's start
        self._end = threading.Event()
        self._away = False  # the last write has failed
        self._thread: threading.Thread | None = None

    def put(self, exposure: Exposure) -> None:
        """Queue an exposure. Returns at once."""
        if len(self._waiting) >= self._capacity:
            self._count("dropped", 1)
            return
        self._waiting.append(exposure)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="exposures", daemon=True
                )
                self._thread.start()
                atexit.register(self.close)

    def _run(self) -> None:
        while not self._end.wait(EVERY_S):
            if not self._flushed():
                self._end.wait(AGAIN_S)
        self._flushed()

    def _flushed(self) -> bool:
        """Write what waits; False if Redis took no more."""
        while count := min(BATCH, len(self._waiting)):
            batch = [self._waiting[place] for place in range(count)]
            try:
                self._write(batch)
            except ServiceError as error:
                if not self._away:  # one line for each time that Redis is away
                    log.warning("%d exposures wait: %s", len(self._waiting), error)
                self._away = True
                return False
            self._away = False
            for _ in batch:
                self._waiting.popleft()
            self._count("written", count)
        return True

    def close(self) -> None:
        """Write what waits, with one attempt of at most `END_S`; the rest is dropped."""
        self._end.set()
        if self._thread is None:
            return
        self._thread.join(END_S)
        if lost := len(self._waiting):
            log.error("%d exposures are lost: Redis did not take them", lost)
            self._count("dropped", lost)
            self._waiting.clear()
