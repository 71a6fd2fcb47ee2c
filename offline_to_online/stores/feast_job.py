"""Several commands of Feast in one process: ``python -m offline_to_online.stores.feast_job '[["apply"], ...]'``."""

from __future__ import annotations

import json
import sys

from online.stack.feast.feature_repo.cli import cli  # type: ignore[attr-defined]  # Feast's own, imported without PyTorch


def main(commands: str) -> None:
    for command in json.loads(commands):
        cli.main(command, prog_name="feast", standalone_mode=False)


if __name__ == "__main__":
    main(sys.argv[1])
