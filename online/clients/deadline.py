"""Deadlines: how long a call may take as a whole, however slowly its answer comes.

A timeout of a socket counts each read: a service that sends a byte every 50 ms never runs into it. A deadline is a
moment. The client that calls sets it for its thread (`until`), and `sockets` let no operation go beyond it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

FAIR_S = 0.03  # a call that ran out of time says nothing of the service if it had less than that


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A moment of the monotonic clock, in seconds; the earlier one is the smaller one."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds until then, never below zero."""
        return max(0.0, self.at - time.monotonic())

    def share(self, part: float) -> Deadline:
        """When ``part`` (0 to 1) of what is left will be over."""
        return Deadline.after(part * self.left())


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def current() -> Deadline | None:
    """The deadline of what this thread is calling; None: it has none."""
    return _current.get()


@contextmanager
def until(deadline: Deadline) -> Iterator[None]:
    """Calls of this thread in the block end by ``deadline``."""
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)
