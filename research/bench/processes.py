"""The processes of a stack, found by the ports they listen on: what they use, and how to hold them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import psutil

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError

# gunicorn ends a worker that it has not heard of for 30 s. Feast's says that it lives every 15 s, when it looks at its
# clock: once a second.
_UNNOTICED_S: Final = 10.0
_SIGN_OF_LIFE_S: Final = 2.0

PARTS: Final = ("server", "redis", "elasticsearch", "feast", "triton")


def ports(settings: Settings) -> dict[str, int]:
    """The port by which each part of the stack is found."""
    return {
        "server": settings.server.port,
        "redis": settings.redis.port,
        "elasticsearch": settings.elasticsearch.port,
        "feast": settings.feast.port,
        "triton": settings.triton.http_port,
    }


@dataclass(frozen=True)
class Use:
    """Resources of a process, or of several together, at one moment."""

    processor_s: float  # since they began
    rss_mb: float
    threads: int
    open_files: int


@dataclass(frozen=True)
class Part:
    """The processes of one part: those that listen on its port, and their children."""

    name: str
    processes: tuple[psutil.Process, ...]

    def processor_s(self) -> float:
        """Processor time of all of them since they began. Raises StepError when one has ended."""
        return sum(self._use_of(process).processor_s for process in self.processes)

    def use(self) -> dict[str, Use]:
        """Resources of each process, by its pid. Raises StepError when one has ended."""
        return {str(process.pid): self._use_of(process) for process in self.processes}

    def _use_of(self, process: psutil.Process) -> Use:
        try:
            with process.oneshot():
                times = process.cpu_times()
                return Use(
                    times.user + times.system,
                    process.memory_info().rss / 2**20,
                    process.num_threads(),
                    process.num_fds(),
                )
        except psutil.NoSuchProcess as error:
            raise StepError(f"{self.name}: process {process.pid} has ended while it was measured") from error


def parts_of(settings: Settings) -> dict[str, Part]:
    """Every part of the stack that runs on this machine with these settings. Raises StepError for one that does not."""
    found_on = listening()
    found = {}
    for name, port in ports(settings).items():
        if not (processes := found_on.get(port)):
            raise StepError(f"nothing of yours listens on port {port}, where {name} should: run `make up serve`")
        family: dict[int, psutil.Process] = {}
        for process in processes:
            family |= {each.pid: each for each in (process, *process.children(recursive=True))}
        found[name] = Part(name, tuple(family[pid] for pid in sorted(family)))
    return found


def listening() -> dict[int, list[psutil.Process]]:
    """Processes that listen on each port, looked up process by process: several may have inherited one socket."""
    found: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr:
                    found.setdefault(connection.laddr.port, []).append(process)
    return found


def used_s(parts: Mapping[str, Part]) -> dict[str, float]:
    """Processor seconds of each part since it began."""
    return {name: part.processor_s() for name, part in parts.items()}


@contextlib.contextmanager
def held(parts: Mapping[str, Part]) -> Iterator[None]:
    """Stop the processes, as Ctrl-Z does, and let them go on at the end: meanwhile they use no processor.

    Workers go on first: a master that finds one silent for too long would end it.
    """
    processes = [process for part in parts.values() for process in part.processes]
    masters = {process.ppid() for process in processes}
    began = time.monotonic()
    try:
        for process in processes:
            process.suspend()
        yield
    finally:
        _go_on(process for process in processes if process.pid not in masters)
        if time.monotonic() - began > _UNNOTICED_S:
            time.sleep(_SIGN_OF_LIFE_S)
        _go_on(process for process in processes if process.pid in masters)


def _go_on(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
