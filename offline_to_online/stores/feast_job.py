"""Feast at work in a process of its own: ``python -m offline_to_online.stores.feast_job '[["apply"], ...]'``.

Each command is one of Feast's. Not the feature server's work, whose one worker answers requests. Run in the feature
repository.
"""

from __future__ import annotations

import json
import sys

from online.stack.feast.feature_repo.cli import cli  # type: ignore[attr-defined]  # imported without PyTorch


def main(commands: str) -> None:
    for command in json.loads(commands):
        cli.main(command, prog_name="feast", standalone_mode=False)


if __name__ == "__main__":
    main(sys.argv[1])
