"""What a step's processes take while they run, looked at from outside."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

import psutil

EVERY_S: Final = 0.2  # memory is looked at


class Watch(threading.Thread):
    """Looks at a process and its descendants from when it is entered until it is left.

    Attributes:
        peak_mb: of the memory that they held together. It is proportional set size: a page that several share counts
            once.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self._root = psutil.Process(pid)
        # Of every process that was seen: the processor seconds that it had used when last seen.
        self._cpu: dict[tuple[int, float], float] = {}
        self._over = threading.Event()

    @property
    def cpu_seconds(self) -> float:
        """Of all that were seen."""
        return sum(self._cpu.values())

    def run(self) -> None:
        while not self._over.wait(EVERY_S):
            self._look()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        self.peak_mb = max(self.peak_mb, held)


def _memory_mb(process: psutil.Process) -> float:
    found = process.memory_full_info()
    return float(getattr(found, "pss", found.rss) / 2**20)  # Linux alone knows the former
