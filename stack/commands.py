"""The commands of `python -m stack`: install, start, watch and stop the four services and the server here."""

import os
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from data_exchange_center.settings import Settings
from stack import preflight, server
from stack.elasticsearch.service import ELASTICSEARCH
from stack.feast import FEAST
from stack.redis import REDIS
from stack.server import SERVER
from stack.service import READY_WITHIN_S, NotReadyError, Service, StackError
from stack.supervision import Supervisor, describe
from stack.triton.service import TRITON

_console = Console(stderr=True)
NOT_STARTED: Final = {"pid": 0, "statename": "STOPPED", "description": ""}

# in the order in which they are started
SERVICES: Final = (REDIS, ELASTICSEARCH, FEAST, TRITON)
PROGRAMS: Final = (*SERVICES, SERVER)


def by_name(name: str) -> Service:
    """Find a service. Raises StackError for an unknown name."""
    found = {service.name: service for service in PROGRAMS}
    if name not in found:
        raise StackError(
            f"no service is called {name!r}; there are: {', '.join(found)}"
        )
    return found[name]


def install(settings: Settings) -> None:
    """Install what is not in requirements.txt. Raises StackError."""
    preflight.check_paths(settings)
    # Triton first: it does not run with every Python
    for service in reversed(SERVICES):
        service.install(settings)


def up(settings: Settings, services: Sequence[Service]) -> None:
    """Start the services that do not run, and wait until all of them are ready. Raises StackError.

    Programs that run with other settings than these are restarted, whether they are among ``services`` or not.
    A server that runs goes on, with new workers if it is among ``services``, if its settings have changed, or if a
    service that it calls is started: a former worker may still take that service for dead, and answer without it.
    """
    supervisor = Supervisor(settings)
    if not supervisor.running:
        supervisor.shutdown()  # what one that was killed has left behind
    alive = supervisor.alive()
    wanted = [each for each in PROGRAMS if each in services or each.name in alive]
    preflight.check(settings, wanted)
    # a password is there before programs are described
    for service in wanted:
        service.prepare(settings)
    described = {service: describe(service, settings) for service in wanted}
    started = [
        service
        for service in wanted
        if service.name not in alive
        or supervisor.described(service) != described[service]
    ]
    serves = SERVER in wanted and bool(started or SERVER in services)
    if serves:  # before anything is touched
        server.try_to_start(described[SERVER])
    services_started = [service for service in started if service is not SERVER]
    for service in services_started:
        supervisor.stop(service)
    supervisor.launch()
    for service in services_started:
        _start(supervisor, service, described[service])
    for service in SERVICES:
        if service in services or service in started:
            _wait(settings, supervisor, service)
    # the server last: a former one answers from what it has loaded meanwhile
    if serves:
        wanted_server = described[SERVER]
        if SERVER.name in alive and server.goes_on(
            supervisor.described(SERVER), wanted_server
        ):
            server.renew(settings, supervisor, wanted_server)
        else:
            _start(supervisor, SERVER, wanted_server)
    # A server that was only restarted may have no release to serve yet: the command does not wait for it.
    if SERVER in services:
        _wait(settings, supervisor, SERVER)
        _console.print(f"  a page to try it on: {settings.server.url}/")


def _start(supervisor: Supervisor, service: Service, description: str) -> None:
    supervisor.stop(service)
    supervisor.describe(service, description)
    supervisor.run(service)


def _wait(settings: Settings, supervisor: Supervisor, service: Service) -> None:
    """Print where a service is ready, once it is. Raises StackError."""
    where = service.where(settings)
    with _console.status(f"waiting for {service.title} on {where}"):
        try:
            version = wait_until_ready(settings, supervisor, service)
            said = f"{service.title} {version} is ready on {where}"
        except NotReadyError as error:
            said = f"{service.title} answers on {where}, degraded: {error}"
    _console.print(said, soft_wrap=True)


STARTS: Final = 3  # of a service while it is waited for; with one more it is given up
POLL_S: Final = 0.2


def wait_until_ready(
    settings: Settings, supervisor: Supervisor, service: Service
) -> str:
    """Wait for a service. Returns its version; raises StackError with the end of its log if it ends or stays silent.

    Raises NotReadyError for a server that answers degraded, at once where the services that it lacks do not run.
    """
    starts: set[int] = set()
    end = time.monotonic() + READY_WITHIN_S
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
            absent = error.absent
            lacks = absent is not None and not supervisor.alive().intersection(absent)
            if lacks or time.monotonic() > end:
                if error.degraded:
                    raise
                said = f"{service.title} runs, but is not ready: {error}"
                if not lacks:
                    said = f"{said}. {_last_words(settings, service)}"
                raise StackError(said) from error
        time.sleep(POLL_S)


def _last_words(settings: Settings, service: Service) -> str:
    path = service.log(settings)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"The end of {path}:", *lines[-20:]])


def down(settings: Settings, services: Sequence[Service] | None) -> None:
    """Stop some services, or all of it, supervisor included. Data stays."""
    supervisor = Supervisor(settings)
    if services is None:
        with _console.status("stopping everything"):
            supervisor.shutdown()
        _console.print("everything is stopped; the data stays")
        return
    for service in services:
        supervisor.stop(service)
        _console.print(f"{service.title} is stopped")


def status(settings: Settings) -> bool:
    """Print a line for each service; True when all four are ready, and the server if it was started."""
    processes = Supervisor(settings).processes()
    well = True
    for service in PROGRAMS:
        info = processes.get(service.name, NOT_STARTED)
        state, said = info["statename"].lower(), info["description"]
        if info["pid"]:
            try:
                version = service.version(settings)
                state, said = "yes", f"{version} on {service.where(settings)}, {said}"
            except NotReadyError as error:
                state, said = "degraded" if error.degraded else "no", str(error)
        else:
            well = well and service is SERVER and state == "stopped"
        well = well and state in ("yes", "stopped")
        print(f"{service.name:15}{state:10}{said}")  # noqa: T201
    return well


def logs(settings: Settings, services: Sequence[Service]) -> None:
    """Print the end of each log."""
    paths = [service.log(settings) for service in services]
    there = [str(path) for path in paths if path.is_file()]
    if not there:
        raise StackError(
            f"there are no logs in {settings.service_dir('logs')} yet: run `make up`."
        )
    os.execvp("tail", ["tail", "--lines=40", *there])  # noqa: S606
