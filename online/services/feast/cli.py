"""``feast ...``, without PyTorch: Feast imports it wherever it is installed, which costs 4 s and 200 MB for nothing.

Its own container has no PyTorch either.
"""

import sys

sys.modules["torch"] = None  # type: ignore[assignment]  # the documented way to make an import fail

from feast.cli.cli import cli  # noqa: E402

if __name__ == "__main__":
    cli()
