from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.waiting import until

PROGRAM = """
import sys
from past_one_machine import clusters
clusters.RESTART_S = 0.1
sleep = "import time, sys; time.sleep(600)"
commands = {name: [sys.executable, "-c", sleep, name] for name in ("one", "two")}
clusters.keep_running(commands, lambda: print("next to", flush=True))
"""


def test_ended_nodes_restart_and_all_stop_together(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as said:
        started = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=said)
    children = psutil.Process(started.pid).children
    try:
        until(lambda: len(children()) == 2)
        before = {child.pid for child in children()}
        gone = min(before)
        os.kill(gone, signal.SIGKILL)
        until(lambda: len({child.pid for child in children()} - before) == 1)
        assert gone not in {child.pid for child in children()}
        left = children()
        started.terminate()
        assert started.wait(60) == 0
        assert not any(child.is_running() for child in left)
        assert (tmp_path / "said").read_text() == "next to\n", "once"
    finally:
        started.kill()
