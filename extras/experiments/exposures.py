"""The log of exposures: who was answered from which arm, with which items. No answer waits for it."""

from __future__ import annotations

import atexit
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Self

from data_exchange_center.dataset import OwnId
from online.clients.base import ServiceError

log = logging.getLogger(__name__)

ROOM: Final = 10_000  # exposures that wait for being written
EVERY_S: Final = 0.2
BATCH: Final = 200
AGAIN_S: Final = 1.0  # after a failure
END_S: Final = 2.0  # for what waits when the process ends


@dataclass(frozen=True, slots=True)
class Exposure:
    """An answer, as an experiment sees it.

    Attributes:
        dataset: whose user it is: `Dataset.base_name`.
        arm: the user's; of an interleaved experiment "", where the list is of both.
        release: that answered; of an interleaved list, the first arm's.
        as_dealt: False where something else was answered than the experiment wanted: an arm's release was not open, or
            gone, or an interleaved list would have lacked something.
        timestamp: of the request, in seconds: what comes of the answer happens then or later.
        answered: in milliseconds since 1970-01-01 UTC.
        items: best first.
        teams: of an interleaved list, one character an item: ``team_draft.FIRST``, ``SECOND`` or ``NEITHER``.
    """

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
    teams: str = ""

    def pack(self) -> str:
        """JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def unpack(cls, raw: str | bytes) -> Self:
        """Inverse of `pack`. Raises ValueError, TypeError, KeyError."""
        fields = json.loads(raw)
        return cls(**{**fields, "items": tuple(fields["items"])})


class ExposureQueue:
    """Exposures on their way to Redis. Shared by threads; its own thread begins with the first exposure.

    While Redis is away they wait; beyond ``room`` they are dropped. One whose acknowledgement was lost is written
    twice, which readers must bear with.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Exposure]], None],
        count: Callable[[str, int], None] = lambda _, __: None,
        room: int = ROOM,
    ) -> None:
        """``write`` raises ServiceError; ``count`` is told how many were "written" and "dropped"."""
        self._write = write
        self._count = count
        self._room = room
        self._waiting: deque[Exposure] = deque()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, exposure: Exposure) -> None:
        """Returns at once."""
        with self._lock:
            full = len(self._waiting) >= self._room
            if not full:
                self._waiting.append(exposure)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="exposures", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        if full:
            self._count("dropped", 1)

    def _run(self) -> None:
        while not self._end.wait(EVERY_S):
            if not self._flushed():
                self._end.wait(AGAIN_S)
        until = time.monotonic() + END_S
        while not self._flushed() and time.monotonic() < until:
            time.sleep(EVERY_S)

    def _flushed(self) -> bool:
        """False: Redis took no more."""
        while batch := [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]:
            try:
                self._write(batch)
            except ServiceError as error:
                log.warning("%d exposures wait: %s", len(self._waiting), error)
                return False
            with self._lock:
                for _ in batch:
                    self._waiting.popleft()
            self._count("written", len(batch))
        return True

    def close(self) -> None:
        """Write what waits, for `END_S` or little more; the rest is dropped."""
        self._end.set()
        if self._thread is None:
            return
        self._thread.join(2 * END_S)
        if lost := len(self._waiting):
            log.error("%d exposures are lost: Redis did not take them", lost)
            self._count("dropped", lost)
            self._waiting.clear()
