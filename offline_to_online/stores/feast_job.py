"""Several commands of Feast in one process: ``python -m offline_to_online.stores.feast_job '[["apply"], ...]'``."""

from __future__ import annotations

import json
import sys

from online.stack.feast.cli import cli  # type: ignore[attr-defined]  # Feast's own, imported without PyTorch

if __name__ == "__main__":
    for command in json.loads(sys.argv[1]):
        cli.main(command, prog_name="feast", standalone_mode=False)
