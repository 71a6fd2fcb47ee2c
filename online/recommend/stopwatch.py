"""How long each stage of one request took, and when it began."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

STAGES: Final = ("redis", "elasticsearch", "feast", "triton")  # that ask a service
DIVERSITY: Final = "diversity"  # the stage after them, for those who want it


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: a service, called once or again, or the server's own work."""

    began: float  # seconds of `time.perf_counter`
    seconds: float
    failed: bool = False


class Stopwatch:
    """Stages may overlap, so they need not add up to the total. One that is made anew for a retry replaces the first.

    Whoever makes it reads the stages of a request that failed, too.
    """

    def __init__(self, began: float | None = None) -> None:
        """``began``: when, in seconds of `time.perf_counter`, if not now."""
        self.began = time.perf_counter() if began is None else began
        self._stages: dict[str, Stage] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        failed = True
        try:
            yield
            failed = False
        finally:
            self._stages[name] = Stage(began, time.perf_counter() - began, failed)

    def until_done(self, name: str) -> Callable[[Future[Any]], None]:
        """For a stage that runs beside the others: it ends when its future is done."""
        began = time.perf_counter()

        def done(future: Future[Any]) -> None:
            failed = future.cancelled() or future.exception() is not None
            self._stages[name] = Stage(began, time.perf_counter() - began, failed)

        return done

    def seconds(self) -> float:
        """In total so far."""
        return time.perf_counter() - self.began

    @property
    def stages(self) -> Mapping[str, Stage]:
        """Those that have ended, in the order of a request."""
        return {name: self._stages[name] for name in (*STAGES, DIVERSITY) if name in self._stages}

    def took_ms(self) -> dict[str, float]:
        """Milliseconds of each stage, and in total so far."""
        took = {name: stage.seconds * 1e3 for name, stage in self.stages.items()}
        return {**took, "total": self.seconds() * 1e3}
