"""Several processes as one program of the stack: all are started, whoever ends is started again, all end together."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

log = logging.getLogger(__name__)

AGAIN_S: Final = 5.0  # until one that has ended is started again: the others notice before
_LOOK_S: Final = 0.2
_END_S: Final = 15.0


def keep_running(commands: Mapping[str, Sequence[str]], once_started: Callable[[], None] = lambda: None) -> None:
    """Until SIGTERM or SIGINT. ``commands``: by name; ``once_started``: called once, beside them."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running = {name: subprocess.Popen(command) for name, command in commands.items()}
    ended: dict[str, float] = {}
    beside = threading.Thread(target=once_started, name="once-started", daemon=True)
    beside.start()
    while not stop.wait(_LOOK_S):
        now = time.monotonic()
        for name, process in running.items():
            if process.poll() is None:
                continue
            if name not in ended:
                log.warning("%s ended with %s", name, process.returncode)
            if now - ended.setdefault(name, now) >= AGAIN_S:
                del ended[name]
                running[name] = subprocess.Popen(commands[name])
    _end(running.values())


def _end(processes: Collection[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    until = time.monotonic() + _END_S
    for process in processes:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
