"""A server whose recipe is a plugin's: what the process that forks the workers imports of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LEFT = """
import sys
import online.gunicorn_conf as configuration
configuration.on_starting(None)
print(*(name for name in sys.modules if name.partition(".")[0] in ("data_exchange_center", "extras")))
"""


def test_workers_import_current_code_with_the_recipes(tmp_path: Path) -> None:
    """A channel's class of an earlier import would be no channel to a worker that imports the core once more."""
    environment = os.environ | {
        "RECSYS_RECIPE": "baskets",
        "RECSYS_EXCHANGE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", LEFT],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
