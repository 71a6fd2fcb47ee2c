"""Wait for what happens in another thread or process."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import Retrying, stop_after_delay, wait_fixed


def until(what: Callable[[], object], within_s: float = 120.0, every_s: float = 0.02) -> None:
    """Return once ``what`` is true; what it raises before that does not count. Fails after ``within_s``."""
    for attempt in Retrying(stop=stop_after_delay(within_s), wait=wait_fixed(every_s), reraise=True):
        with attempt:
            assert what(), f"not within {within_s:g} s"
