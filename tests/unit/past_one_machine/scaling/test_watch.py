from __future__ import annotations

import subprocess
import sys

from past_one_machine.scaling.watch import Watch

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(b'x' * (60 << 20)); import time; time.sleep(1.5)"])
held = bytearray(b"x" * (40 << 20))
child.wait()
"""


def test_the_memory_of_all_processes_counts_together() -> None:
    process = subprocess.Popen([sys.executable, "-c", PARENT])
    with Watch(process.pid) as watch:
        assert process.wait() == 0
    assert 100 < watch.peak_mb < 200
    assert watch.cpu_seconds > 0
