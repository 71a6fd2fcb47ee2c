"""A step in a process of its own, and what it and all that it starts take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from data_exchange_center.steps import StepError
from offline.step_runner import ROOT

EVERY_S: Final = 0.2  # memory is looked at


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
        watch = _Watch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.end()
        if process.returncode:
            said.seek(0)
            last = "".join(said.readlines()[-10:])
            raise StepError(f"{step} failed with exit code {process.returncode}; its last lines:\n{last}")
    own = usage.ru_utime + usage.ru_stime
    return Cost(round(seconds, 2), round(max(own, watch.cpu_seconds), 2), round(watch.peak_mb, 1))


class _Watch(threading.Thread):
    """Looks at a process and its descendants until it is told to end."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self._root = psutil.Process(pid)
        self._cpu: dict[
            tuple[int, float], float
        ] = {}  # of every process that was seen: what it had used when last seen
        self._over = threading.Event()

    @property
    def cpu_seconds(self) -> float:
        return sum(self._cpu.values())

    def run(self) -> None:
        while not self._over.wait(EVERY_S):
            self._look()

    def end(self) -> None:
        self._over.set()
        self.join()

    def _look(self) -> None:
        held = 0.0
        try:
            processes = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                held += _memory_mb(process)
                used = process.cpu_times()
                self._cpu[process.pid, process.create_time()] = used.user + used.system
            except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError, ProcessLookupError):
                continue
        self.peak_mb = max(self.peak_mb, held)


def _memory_mb(process: psutil.Process) -> float:
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    if rollup.exists():
        for line in rollup.read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return float(process.memory_info().rss / 2**20)
