"""Limits of a request's size, and the time of its arrival."""

from typing import Final

MAX_BODY: Final = 16 * 1024  # bytes; a request needs forty
MAX_EVENTS_BODY: Final = 256 * 1024  # of the paths that take a list of events
WITH_EVENTS: Final = ("/ml/event", "/api/feedback")
# In a request's WSGI environment: since when it is complete, in seconds of `time.perf_counter`. The wait for a thread
# counts. Flask's own server does not set it.
COMPLETE_SINCE: Final = "recsys.complete_since"


def body_too_large(most: int) -> str:
    """The error's sentence where a body is larger than ``most`` bytes."""
    return f"The body is larger than {most} bytes."
