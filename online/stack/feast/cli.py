"""``feast ...``, without PyTorch: Feast imports it wherever it is installed, which costs 4 s and 200 MB for nothing.

Its own container has no PyTorch either.
"""

import ctypes
import os
import signal
import sys

sys.modules["torch"] = None  # type: ignore[assignment]  # the documented way to make an import fail

from feast.cli.cli import cli  # noqa: E402

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """In a forked worker: end when the master does, or it would hold the port against the master's successor."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    os.register_at_fork(after_in_child=die_with_parent)
    cli()
