"""How large a request may be. Without further imports: gunicorn's master reads it, too."""

from typing import Final

MAX_BODY: Final = 16 * 1024  # bytes; a request needs forty
MAX_EVENTS_BODY: Final = 256 * 1024  # of the paths that take a list of events
WITH_EVENTS: Final = (b"POST /ml/event ", b"POST /api/feedback ", b"PUT /api/feedback ")  # how such requests begin
MAX_HEAD: Final = 16 * 1024  # bytes of a request's line and headers


def body_too_large(most: int) -> str:
    """What is said where a body is larger than ``most`` bytes."""
    return f"The body is larger than {most} bytes."
