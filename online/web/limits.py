"""How large a request may be. Without further imports: gunicorn's master reads it, too."""

from typing import Final

MAX_BODY: Final = 16 * 1024  # bytes; a request needs forty
MAX_HEAD: Final = 16 * 1024  # bytes of a request's line and headers
BODY_TOO_LARGE: Final = f"The body is larger than {MAX_BODY} bytes."
