from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PROGRAM = """
import sys
from past_one_machine.clusters import several
several.AGAIN_S = 0.1
sleep = "import time, sys; time.sleep(600)"
commands = {name: [sys.executable, "-c", sleep, name] for name in ("one", "two")}
several.keep_running(commands, lambda: print("beside", flush=True))
"""


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_who_ends_is_started_again_and_all_end_together(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as said:
        program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=said)
    children = psutil.Process(program.pid).children
    try:
        until(lambda: len(children()) == 2)
        before = {child.pid for child in children()}
        gone = min(before)
        os.kill(gone, signal.SIGKILL)
        until(lambda: len({child.pid for child in children()} - before) == 1)
        assert gone not in {child.pid for child in children()}
        left = children()
        program.terminate()
        assert program.wait(20) == 0
        assert not any(child.is_running() for child in left)
        assert (tmp_path / "said").read_text() == "beside\n", "once"
    finally:
        program.kill()
