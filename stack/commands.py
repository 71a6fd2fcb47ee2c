"""The four services on this machine, without Docker: install, up, down, status, logs; and the server: serve.

Run:    python -m stack install|up|down|status|logs|serve [service ...]
Expect: `up` returns once every service answers; `status` exits with 0 when all of them are ready, else with 1.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import psutil
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from data_exchange_center.settings import Settings
from stack import preflight, server
from stack.elasticsearch.service import ELASTICSEARCH
from stack.feast.service import FEAST
from stack.redis.service import REDIS
from stack.server import SERVER
from stack.service import AbsentError, NotReadyError, Service, StackError
from stack.supervision import Supervisor, describe, members
from stack.triton.service import TRITON

_console = Console(stderr=True)

# --- the services, in the order in which they are started

SERVICES: Final = (REDIS, ELASTICSEARCH, FEAST, TRITON)
PROGRAMS: Final = (
    *SERVICES,
    SERVER,
)  # what runs under the supervisor; the server is started by `serve`


def by_name(name: str) -> Service:
    """Find a service. Raises StackError for an unknown name."""
    for service in PROGRAMS:
        if service.name == name:
            return service
    raise StackError(
        f"no service is called {name!r}; there are: {', '.join(s.name for s in PROGRAMS)}"
    )


# --- the commands


def up(settings: Settings, services: Sequence[Service]) -> None:
    """Start the services that do not run, and wait until all of them are ready. Raises StackError.

    Programs that run with other settings than these are restarted, whether they are among ``services`` or not.
    A server that runs goes on, with new workers if it is among ``services``, if its settings have changed, or if a
    service that it calls is started: a former worker may still take that service for dead, and answer without it.
    """
    supervisor = Supervisor(settings)
    _refuse_orphans(settings, supervisor)
    alive = supervisor.alive()
    running = [service for service in PROGRAMS if service.name in alive]
    missing = [
        service
        for service in PROGRAMS
        if service in services and service not in running
    ]
    preflight.check(settings, missing, running)
    for service in (
        *missing,
        *running,
    ):  # a password is there before programs are described
        service.prepare(settings)
    described = {service: describe(service, settings) for service in PROGRAMS}
    changed = [
        service
        for service in running
        if supervisor.described(service) != described[service]
    ]
    started = [service for service in PROGRAMS if service in (*missing, *changed)]
    goes_on = SERVER in running and server.goes_on(
        supervisor.described(SERVER), described[SERVER]
    )
    renewed = goes_on and bool(started or SERVER in services)
    if renewed and SERVER in started:
        started.remove(SERVER)
    if renewed or SERVER in started:  # before anything is touched
        server.try_to_start(described[SERVER], supervisor.environment)
    for service in started:
        supervisor.stop(service)
        supervisor.describe(service, described[service])
    supervisor.launch()
    for service in started:
        supervisor.run(service)
    for service in SERVICES:
        if service in services or service in started:
            _wait(settings, supervisor, service)
    if renewed:
        server.renew(settings, supervisor, described[SERVER])
    # A server that was only restarted may have no release to serve yet: the command does not wait for it.
    if SERVER in services:
        _wait(settings, supervisor, SERVER)
        _console.print(f"  a page to try it on: {settings.server.url}/")


def _wait(settings: Settings, supervisor: Supervisor, service: Service) -> None:
    """Print where a service is ready, once it is. Raises StackError."""
    where = service.where(settings)
    with _console.status(f"waiting for {service.title} on {where}"):
        try:
            version = wait_until_ready(settings, supervisor, service)
            said = f"{service.title} {version} is ready on {where}"
        except AbsentError as error:
            said = f"{service.title} answers on {where}, degraded: {error}"
    _console.print(said, soft_wrap=True)


def _refuse_orphans(settings: Settings, supervisor: Supervisor) -> None:
    if not supervisor.running and (left := members(settings)):
        pids = ", ".join(str(process.pid) for process in left)
        raise StackError(
            f"processes of an earlier stack have lost their supervisor (pid {pids}): run `make down`."
        )


STARTS: Final = 3  # of a service while it is waited for; with one more it is given up
POLL_S: Final = 0.2


def wait_until_ready(
    settings: Settings, supervisor: Supervisor, service: Service
) -> str:
    """Wait for a service. Returns its version; raises StackError with the end of its log if it ends or stays silent.

    Raises AbsentError for a server that answers degraded, at once where the services that it lacks do not run.
    """
    starts: set[int] = set()
    end = time.monotonic() + service.ready_within_s
    while True:
        info = supervisor.processes()[service.name]
        starts.add(info["start"])
        # EXITED: the supervisor starts it again, for ever if it takes a process that ends within its tick for running.
        if info["statename"] in ("FATAL", "STOPPED") or len(starts) > STARTS:
            raise StackError(
                f"{service.title} ended right after its start. {_last_words(settings, service)}"
            )
        try:
            return service.version(settings)
        except NotReadyError as error:
            late = time.monotonic() > end
            if isinstance(error, AbsentError) and (
                late or not error.services & supervisor.alive()
            ):
                if error.degraded:
                    raise
                raise StackError(
                    f"{service.title} runs, but is not ready: {error}"
                ) from error
            if late:
                raise StackError(
                    f"{service.title} was not ready within {service.ready_within_s:g} s ({error}). "
                    f"{_last_words(settings, service)}"
                ) from error
        time.sleep(POLL_S)


def _last_words(settings: Settings, service: Service) -> str:
    path = service.log(settings)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"The end of {path}:", *lines[-20:]])


def down(settings: Settings, services: Sequence[Service] | None) -> None:
    """Stop some services, or all of it, supervisor included. Data stays."""
    supervisor = Supervisor(settings)
    if services is not None:
        _refuse_orphans(settings, supervisor)
        for service in services:
            supervisor.stop(service)
            _console.print(f"{service.title} is stopped")
        return
    with _console.status("stopping everything"):
        supervisor.shutdown()
    _console.print("everything is stopped; the data stays")


def status(settings: Settings) -> bool:
    """Print the table; True when each of the four services is ready, and the server if it was started."""
    processes = Supervisor(settings).processes()
    headings = ("service", "ready", "version", "ports", "pid", "since", "memory")
    table = Table(
        *(Column(heading, no_wrap=True) for heading in headings),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.padding = (0, 1, 0, 0)
    reasons = []
    for service in PROGRAMS:
        info = processes.get(service.name, {"statename": "STOPPED", "pid": 0})
        state, pid = info["statename"], info["pid"]
        ready, version, reason = "no", "-", ""
        if pid:
            try:
                version = service.version(settings)
                ready = "yes"
            except NotReadyError as error:
                reason = str(error)
                if isinstance(error, AbsentError) and error.degraded:
                    ready = "degraded"
        elif state == "STOPPED":
            ready = "stopped"
            reason = "" if service is SERVER else "stopped"
        else:
            reason = f"ended ({state.lower()}), see {service.log(settings)}"
        since = f"{datetime.fromtimestamp(info['start']):%m-%d %H:%M}" if pid else "-"
        memory = f"{_memory_mb(pid):.0f} MB" if pid else "-"
        ports = (
            " ".join(
                str(port.numbers(settings)[0])
                for port in service.ports
                if port.numbers(settings)
            )
            or "socket"
        )
        table.add_row(
            service.name, ready, version, ports, str(pid or "-"), since, memory
        )
        if reason:
            reasons.append(f"{service.title}: {reason}")
    table.caption = "\n".join([str(settings.exchange_dir), *reasons])
    table.caption_justify = "left"
    Console().print(table)
    return not reasons


def _memory_mb(pid: int) -> float:
    """Memory of a process and its descendants in MB; pages they share are counted once."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_full_info().pss for member in family) / 1e6
    except psutil.Error:
        return 0.0


def logs(
    settings: Settings, services: Sequence[Service], lines: int, follow: bool
) -> None:
    """Print the last ``lines`` of each log; with ``follow``, what is added to them until interrupted."""
    paths = [
        str(path) for service in services if (path := service.log(settings)).is_file()
    ]
    if not paths:
        raise StackError(
            f"there are no logs in {settings.service_dir('logs')} yet: run `make up`."
        )
    sys.stdout.flush()
    os.execvp(  # noqa: S606
        "tail",
        ["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), *paths],
    )


def main(arguments: Sequence[str], settings: Settings) -> None:
    """Carry one command out. Raises StackError; ends with exit code 1 when `status` finds something not ready."""
    parser = argparse.ArgumentParser(
        prog="python -m stack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        choices=["install", "up", "down", "status", "logs", "serve"],
    )
    names = ", ".join(service.name for service in PROGRAMS)
    parser.add_argument(
        "services", nargs="*", metavar="service", help=f"some of {names}; default: all"
    )
    parser.add_argument(
        "--lines", type=int, default=40, help="logs: how many lines of each"
    )
    parser.add_argument("--follow", action="store_true", help="logs: go on printing")
    options = parser.parse_args(arguments)
    chosen = [by_name(name) for name in options.services]
    match options.command:
        case "install":
            logging.basicConfig(level=logging.INFO, format="%(message)s")
            preflight.check_paths(settings)
            for service in reversed(
                chosen or SERVICES
            ):  # Triton first: it does not run with every Python
                service.install(settings)
        case "up":
            up(settings, chosen or SERVICES)
        case "serve":
            up(settings, [SERVER])
        case "down":
            down(settings, chosen or None)
        case "logs":
            logs(settings, chosen or PROGRAMS, options.lines, options.follow)
        case "status":
            sys.exit(0 if status(settings) else 1)
