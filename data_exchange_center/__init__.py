"""The contract of offline and online: settings, recipes, artifacts, features, releases."""

import os
import sys
from types import TracebackType
from typing import Final

# onnxruntime reads it when it is imported; without it, it notes an id of this machine and events to send to Microsoft.
NO_TELEMETRY: Final = {"ORT_DISABLE_TELEMETRY": "1"}
# every step, command and server imports this package before anything else
os.environ.update(NO_TELEMETRY)

VERSION: Final = "1.0.0"  # of the project; pyproject.toml and the images read it here


def _without_a_trace(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print no stack trace for Ctrl-C. `steps.run` does the same, but a command imports for seconds before it."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)  # noqa: T201 (the message for the user)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.excepthook is sys.__excepthook__:
    sys.excepthook = _without_a_trace
