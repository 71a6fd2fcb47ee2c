"""A step in a process of its own, and what it and all that it starts take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass

from data_exchange_center.steps import StepError
from offline.step_runner import ROOT
from past_one_machine.scaling.watch import Watch


@dataclass(frozen=True)
class Cost:
    """What a step took: wall-clock seconds, processor seconds, and the peak of its processes' memory together.

    Memory is proportional set size: a page that several processes share counts once.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


def cost_of(step: str, environment: Mapping[str, str]) -> Cost:
    """Run one step, to its end. Raises StepError, with the last lines of what it said, when it fails."""
    path = ROOT / step
    with tempfile.TemporaryFile("w+") as said:
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, path.name], cwd=path.parent, env=dict(environment), stdout=said, stderr=subprocess.STDOUT
        )
        with Watch(process.pid) as watch:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            last = "".join(said.readlines()[-10:])
            raise StepError(f"{step} failed with exit code {process.returncode}; its last lines:\n{last}")
    own = usage.ru_utime + usage.ru_stime
    return Cost(round(seconds, 2), round(max(own, watch.cpu_seconds), 2), round(watch.peak_mb, 1))
