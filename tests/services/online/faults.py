"""Faults of the services while a server uses them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil

from data_exchange_center.settings import Settings
from research.bench.processes import listening

PORTS: Final = {"redis": "port", "elasticsearch": "port", "feast": "port", "triton": "http_port"}  # that a server asks
RECOVERY_S: Final = 2.0  # after which answers are whole again
# What an answer has in place of a service that a known user was answered with before
INSTEAD: Final = {
    "redis": {"last_state"},
    "elasticsearch": {"exact_search"},
    "feast": {"last_features"},
    "triton": {"recall_order"},
}


def listeners(settings: Settings, name: str) -> list[psutil.Process]:
    """Every process that listens on the service's port."""
    processes = listening().get(getattr(getattr(settings, name), PORTS[name]), [])
    assert processes, f"nobody listens on the port of {name}"
    return processes


def kill(settings: Settings, name: str) -> None:
    """All that listens on the service's port, and their children, with no chance to say so."""
    processes = listeners(settings, name)
    for process in processes:
        process.suspend()  # so that none starts another child meanwhile
    children = [child for process in processes for child in process.children(recursive=True)]
    for process in {*processes, *children}:
        process.kill()


@contextmanager
def paused(settings: Settings, name: str) -> Iterator[None]:
    """All that listens on the service's port stands still."""
    processes = listeners(settings, name)
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
