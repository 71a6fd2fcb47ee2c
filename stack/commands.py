"""The four services on this machine, without Docker: install, up, down, restart, status, logs; and the server: serve.

Run:    python -m stack install|up|down|restart|status|logs|serve [service ...]
Expect: `up` returns once every service answers; `status` exits with 0 when all of them are ready, else with 1.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import psutil
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_fixed,
)

from data_exchange_center.settings import Settings
from stack import preflight, server
from stack.elasticsearch.service import ELASTICSEARCH
from stack.feast.service import FEAST
from stack.redis.service import REDIS
from stack.server import SERVER
from stack.service import AbsentError, NeedsActionError, NotReadyError, Service, StackError
from stack.supervision import Supervisor, describe, members
from stack.triton.service import TRITON

_console = Console(stderr=True)

# --- the services, in the order in which they are started

SERVICES: Final = (REDIS, ELASTICSEARCH, FEAST, TRITON)
PROGRAMS: Final = (*SERVICES, SERVER)  # what runs under the supervisor; the server is started by `serve`


def by_name(name: str) -> Service:
    """Find a service. Raises StackError for an unknown name."""
    for service in PROGRAMS:
        if service.name == name:
            return service
    raise StackError(f"no service is called {name!r}; there are: {', '.join(s.name for s in PROGRAMS)}")


# --- the commands


def up(settings: Settings, services: Sequence[Service], *, renew: bool = False) -> None:
    """Start the services that do not run, and wait until all of them are ready. Raises StackError.

    Programs that run with other settings than these are restarted, whether they are among ``services`` or not.
    A server that runs goes on, with new workers if its settings have changed, or if a service that it calls was
    started: a former worker may still take that service for dead, and answer without it.
    ``renew``: replace the workers of a server in any case.
    """
    supervisor = Supervisor(settings)
    _refuse_orphans(settings, supervisor)
    before = _running(supervisor)
    running = [service for service in PROGRAMS if service.name in before]
    missing = [service for service in PROGRAMS if service in services and service not in running]
    preflight.check(settings, missing, running)
    # What the server will read is tried before anything is touched.
    description = describe(SERVER, settings)
    is_new = SERVER in missing or (SERVER in running and description != supervisor.described(SERVER))
    tried = is_new or (renew and SERVER in services)
    if tried:
        server.try_to_start(description, supervisor.environment)
    # Those that run too: a changed setting restarts them, and a password is there before programs are described.
    for service in PROGRAMS:
        if service in missing or service in running:
            service.prepare(settings)
    description = describe(SERVER, settings)
    goes_on = SERVER in running and server.goes_on(supervisor.described(SERVER), description)
    supervisor.start(service for service in PROGRAMS if not (service is SERVER and goes_on))
    stopped = [service for service in running if service.name not in _running(supervisor)]
    started = [service for service in PROGRAMS if service in missing or service in stopped]
    for service in started:
        supervisor.run(service)
    for service in SERVICES:
        if service in services or service in stopped:
            _wait(settings, supervisor, service)
    if goes_on and (tried or started):
        if not tried:
            server.try_to_start(description, supervisor.environment)
        server.renew(settings, supervisor, description)
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
            _console.print(f"{service.title} {version} is ready on {where}", soft_wrap=True)
        except AbsentError as error:
            _console.print(
                f"{service.title} answers on {where}, degraded: {error} `make up` starts services.", soft_wrap=True
            )


def _refuse_orphans(settings: Settings, supervisor: Supervisor) -> None:
    if not supervisor.running and (left := members(settings)):
        pids = ", ".join(str(process.pid) for process in left)
        raise StackError(f"processes of an earlier stack have lost their supervisor (pid {pids}): run `make down`.")


def _running(supervisor: Supervisor) -> set[str]:
    return {name for name, info in supervisor.processes().items() if info["statename"] in ("RUNNING", "STARTING")}


STARTS: Final = 3  # of a service while it is waited for; with one more it is given up


def wait_until_ready(settings: Settings, supervisor: Supervisor, service: Service) -> str:
    """Wait for a service. Returns its version; raises StackError with the end of its log if it ends or stays silent.

    Raises AbsentError for a server that answers degraded, at once where the services that it lacks do not run.
    """

    starts: set[int] = set()

    def answer() -> str:
        info = supervisor.processes()[service.name]
        starts.add(info["start"])
        # EXITED: the supervisor starts it again, for ever if it takes a process that ends within its tick for running.
        if info["statename"] in ("FATAL", "STOPPED") or len(starts) > STARTS:
            raise StackError(f"{service.title} ended right after its start. {_last_words(settings, service)}")
        return service.version(settings)

    def may_pass(error: BaseException) -> bool:
        if isinstance(error, AbsentError):
            return bool(error.services & _running(supervisor))
        return isinstance(error, NotReadyError) and not isinstance(error, NeedsActionError)

    waiting = Retrying(
        retry=retry_if_exception(may_pass), stop=stop_after_delay(service.ready_within_s), wait=wait_fixed(0.2)
    )
    try:
        try:
            return waiting(answer)
        except RetryError as error:
            last = error.last_attempt.exception()
            if isinstance(last, AbsentError) and last.degraded:
                raise last from error
            raise StackError(
                f"{service.title} was not ready within {service.ready_within_s:g} s ({last}). "
                f"{_last_words(settings, service)}"
            ) from error
    except AbsentError as error:
        if error.degraded:
            raise
        raise StackError(f"{service.title} runs, but is not ready: {error} Run `make up`.") from error
    except NeedsActionError as error:
        raise StackError(f"{service.title} runs, but is not ready: {error}") from error


def _last_words(settings: Settings, service: Service) -> str:
    path = service.log(settings)
    if not path.is_file():
        return f"({path} does not exist)"
    with path.open(encoding="utf-8", errors="replace") as file:
        return f"The end of {path}:\n{''.join(deque(file, 20)).rstrip()}"


def serve(settings: Settings) -> None:
    """Start the server. If it runs with these settings already, new workers take over and no request is lost."""
    up(settings, [SERVER], renew=True)


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


def restart(settings: Settings, services: Sequence[Service]) -> None:
    supervisor = Supervisor(settings)
    if supervisor.running:
        for service in reversed(services):
            supervisor.stop(service)
    up(settings, services)


def status(settings: Settings) -> bool:
    """Print the table; True when each of the four services is ready, and the server if it was started."""
    processes, waiting = Supervisor(settings).processes(), []
    headings = ("service", "ready", "version", "ports", "pid", "since", "memory")
    table = Table(*(Column(heading, no_wrap=True) for heading in headings), box=SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 1, 0, 0)
    for service in PROGRAMS:
        info = processes.get(service.name, {})
        numbers = [number for port in service.ports for number in port.numbers(settings)[:1]]
        in_a_row = len(numbers) > 2 and numbers == [*range(numbers[0], numbers[0] + len(numbers))]
        ports = f"{numbers[0]}-{numbers[-1]}" if in_a_row else " ".join(map(str, numbers)) or "socket"
        state, pid = info.get("statename", "STOPPED"), info.get("pid", 0)
        ready, version, since, memory = "no", "-", "-", "-"
        reason = None
        if pid:
            start = datetime.fromtimestamp(info["start"]).astimezone()
            since = f"{start:%H:%M}" if start.date() == datetime.now().astimezone().date() else f"{start:%m-%d %H:%M}"
            memory = f"{_memory_mb(pid):.0f} MB"
            try:
                ready, version = "yes", service.version(settings)
            except NotReadyError as error:
                degraded = isinstance(error, AbsentError) and error.degraded
                ready, reason = "degraded" if degraded else "no", str(error)
        elif state == "STOPPED":
            ready = reason = "stopped"
        else:
            reason = f"ended ({state.lower()}), see {service.log(settings)}"
        table.add_row(service.name, ready, version, ports, str(pid or "-"), since, memory)
        if reason and not (service is SERVER and reason == "stopped"):
            waiting.append(f"{service.title}: {reason}")
    table.caption = "\n".join([str(settings.exchange_dir), *waiting])
    table.caption_justify = "left"
    Console().print(table)
    return not waiting


def _memory_mb(pid: int) -> float:
    """Memory of a process and its descendants in MB; pages they share are counted once."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_full_info().pss for member in family) / 1e6
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


def logs(settings: Settings, services: Sequence[Service], lines: int, follow: bool) -> None:
    """Print the last ``lines`` of each log; with ``follow``, what is added to them until interrupted."""
    paths = [str(path) for service in services if (path := service.log(settings)).is_file()]
    if not paths:
        raise StackError(f"there are no logs in {settings.service_dir('logs')} yet: run `make up`.")
    sys.stdout.flush()
    os.execvp("tail", ["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), *paths])  # noqa: S606


def main(arguments: Sequence[str], settings: Settings) -> None:
    """Carry one command out. Raises StackError; ends with exit code 1 when `status` finds something not ready."""
    parser = argparse.ArgumentParser(
        prog="python -m stack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["install", "up", "down", "restart", "status", "logs", "serve"])
    names = [service.name for service in PROGRAMS]
    parser.add_argument("services", nargs="*", metavar="service", help=f"some of {', '.join(names)}; default: all")
    parser.add_argument("--lines", type=int, default=40, help="logs: how many lines of each")
    parser.add_argument("--follow", action="store_true", help="logs: go on printing")
    options = parser.parse_args(arguments)
    chosen = [by_name(name) for name in options.services]
    match options.command:
        case "install":
            logging.basicConfig(level=logging.INFO, format="%(message)s")
            preflight.check_paths(settings)
            for service in reversed(chosen or SERVICES):  # Triton first: it does not run with every Python
                service.install(settings)
        case "up":
            up(settings, chosen or SERVICES)
        case "serve":
            serve(settings)
        case "down":
            down(settings, chosen or None)
        case "restart":
            restart(settings, chosen or SERVICES)
        case "logs":
            logs(settings, chosen or PROGRAMS, options.lines, options.follow)
        case "status":
            sys.exit(0 if status(settings) else 1)
