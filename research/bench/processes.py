"""The processes of a stack, found by the ports they listen on: resource usage, pausing, free ports."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

import psutil

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from stack.commands import PROGRAMS
from stack.service import LOOPBACK

# gunicorn kills a worker without a heartbeat for 30 s. Feast's sends one every 15 s, and checks its clock once a
# second.
_UNNOTICED_S: Final = 10.0
_SIGN_OF_LIFE_S: Final = 2.0

PARTS: Final = ("server", "redis", "elasticsearch", "feast", "triton")
# those that listen on a part's port, and their children
Parts = dict[str, tuple[psutil.Process, ...]]
Read = TypeVar("Read")


def parts_of(settings: Settings) -> Parts:
    """Every part of the stack that runs on this machine with these settings. Raises StepError for one that does not."""
    found_on, found = listening(), {}
    for name in PARTS:
        place = listens_on(settings, name)
        if not (processes := found_on.get(place)):
            raise StepError(
                f"nothing of yours listens on {place}, where {name} should: run `make up serve`"
            )
        family = {
            each.pid: each
            for one in processes
            for each in (one, *one.children(recursive=True))
        }
        found[name] = tuple(family[pid] for pid in sorted(family))
    return found


def listens_on(settings: Settings, name: str) -> int | str:
    """The port by which a part of the stack is found, or the path of its socket."""
    if name == "redis" and settings.redis.socket:
        return str(settings.redis.socket)
    place = getattr(settings, name)
    port: int = place.metrics_port if name == "triton" else place.port
    return port


def listening() -> dict[int | str, list[psutil.Process]]:
    """Processes that listen on each port, and that have each Unix socket by its path.

    They are looked up process by process: several may have inherited one socket.
    """
    found: dict[int | str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            for path in {
                str(connection.laddr)
                for connection in process.net_connections("unix")
                if connection.laddr
            }:
                found.setdefault(path, []).append(process)
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr:
                    found.setdefault(connection.laddr.port, []).append(process)
    return found


def of_each(
    parts: Parts, read: Callable[[psutil.Process], Read]
) -> dict[str, list[Read]]:
    """What ``read`` says of each part's processes. Raises StepError when one has ended."""
    found = {}
    for name, processes in parts.items():
        try:
            found[name] = [read(process) for process in processes]
        except psutil.NoSuchProcess as error:
            raise StepError(
                f"{name}: process {error.pid} has ended while it was measured"
            ) from error
    return found


def used_s(parts: Parts) -> dict[str, float]:
    """Processor seconds of each part since it began. Raises StepError when a process has ended."""
    times = of_each(parts, lambda process: process.cpu_times())
    return {
        name: sum(each.user + each.system for each in of) for name, of in times.items()
    }


@contextlib.contextmanager
def held(parts: Parts) -> Iterator[None]:
    """Pause processes, as Ctrl-Z does, and resume them at the end: meanwhile they use no processor time.

    Workers resume first: a master that finds one silent for too long would kill it.
    """
    processes = [process for part in parts.values() for process in part]
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


def on_free_ports(settings: Settings) -> Settings:
    """These settings, with every port of the stack moved to one that nobody listens on."""
    with (
        contextlib.ExitStack() as held
    ):  # all are held until the last is found, so they differ
        ports = [(each.name, port) for each in PROGRAMS for port in each.ports]
        for group, name in ports:
            free = held.enter_context(socket.socket())
            free.bind((LOOPBACK, 0))
            place = getattr(settings, group).model_copy(
                update={name: free.getsockname()[1]}
            )
            settings = settings.model_copy(update={group: place})
    # the sockets are those of the stack that runs
    without = {"socket_dir": None}
    redis = settings.redis.model_copy(update=without)
    triton = settings.triton.model_copy(update=without)
    return settings.model_copy(update={"redis": redis, "triton": triton})
