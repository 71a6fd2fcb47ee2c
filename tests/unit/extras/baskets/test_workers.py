"""A server whose recipe is the baskets': what the process that forks the workers keeps of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LEFT = """
import sys
import online.gunicorn_conf as configuration
assert "extras.baskets.own_items" in sys.modules, "reading the settings did not import what brings the recipe"
configuration.on_starting(None)
print(*(name for name in sys.modules if name.partition(".")[0] in ("data_exchange_center", "extras", "online")))
"""


def test_workers_import_current_code_with_the_recipes(tmp_path: Path) -> None:
    """A channel's class of the first import would be no channel to the workers, which import the core once more."""
    environment = os.environ | {"RECSYS_RECIPE": "baskets", "RECSYS_EXCHANGE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LEFT], env=environment, check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
