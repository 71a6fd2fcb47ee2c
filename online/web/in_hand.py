"""Requests that are complete: how many a worker takes in hand, and since when each has been complete."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

# Those that do not get a thread at once wait for one: bursts pass. `admission` says how many may while all is slow.
PLACES_PER_THREAD: Final = 4
# Beyond the places, for whoever watches the server: that it has much to do is no reason to say that it is dead.
WATCHERS: Final = 8
WATCHES: Final = (b"GET /healthz ", b"GET /metrics ")

# Of the request that this thread answers, in seconds of `time.perf_counter`; None: not under gunicorn.
complete_since: ContextVar[float | None] = ContextVar("complete_since", default=None)
