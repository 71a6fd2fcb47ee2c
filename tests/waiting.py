"""Wait for what happens in another thread or process."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed


class NotYetError(AssertionError):
    """It was not true in time."""


def until(
    what: Callable[[], object],
    within_s: float = 120.0,
    every_s: float = 0.02,
    *,
    despite: tuple[type[Exception], ...] = (),
    said: Callable[[], str] = str,
) -> None:
    """Return once ``what`` is true. Fails after ``within_s``, and at once by an exception that was not to be expected.

    Args:
        despite: exceptions that ``what`` may raise before.
        said: what to tell with the failure, for example a log.
    """
    waiting = Retrying(
        stop=stop_after_delay(within_s),
        wait=wait_fixed(every_s),
        retry=retry_if_exception_type((NotYetError, *despite)),
        reraise=True,
    )
    for attempt in waiting:
        with attempt:
            if not what():
                raise NotYetError(f"not within {within_s:g} s {said()}".rstrip())
