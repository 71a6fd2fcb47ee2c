"""Feast at work in a process of its own: ``python -m offline_to_online.stores.feast_job '[["apply"], ...]'``.

Each command is one of Feast's, or ``["write", view, rows.parquet]``: rows of a feature view into the online store, by
Feast's own API. Not the feature server's work, whose one worker answers requests. Run in the feature repository.
"""

from __future__ import annotations

import json
import sys

from online.stack.feast.feature_repo.cli import cli  # type: ignore[attr-defined]  # imported without PyTorch


def main(commands: str) -> None:
    for command in json.loads(commands):
        if command[0] == "write":
            _write(*command[1:])
        else:
            cli.main(command, prog_name="feast", standalone_mode=False)


def _write(view: str, rows: str) -> None:
    import pandas as pd
    from feast import FeatureStore

    FeatureStore(repo_path=".").write_to_online_store(view, pd.read_parquet(rows))


if __name__ == "__main__":
    main(sys.argv[1])
