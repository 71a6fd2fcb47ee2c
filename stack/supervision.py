"""Run the stack's programs under supervisord: supervisord.conf is static, and supervisord is driven by its XML-RPC.

Each program's command is in a file of its own, which `launch.py` reads at each start. Where changed settings change the
file, the program is stopped before its file is rewritten; the server goes on, with new workers (`stack.server.renew`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from data_exchange_center import NO_TELEMETRY
from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings
from stack.service import BIN, ROOT, Service, StackError, until

CONFIGURATION: Final = Path(__file__).with_name("supervisord.conf")
MARK: Final = "RECSYS_STACK"  # in the environment of every process of a stack: the folder of its supervisor
KEPT: Final = {"SPT_NOENV": "1"}  # gunicorn's titles, where setproctitle is installed, would write over the environment
PATIENCE_S: Final = 15.0  # for supervisord itself to come up, or to go
_NOTE: Final = "socket_folder"
_SOCKET_PATH_BYTES: Final = 90  # a Unix socket's path may have 107, and supervisord first makes a longer one


def folder(settings: Settings) -> Path:
    return settings.service_dir("supervisor")


def socket(settings: Settings) -> Path:
    """Socket of supervisord: in its folder, or, when that path is too long, in one that `make_socket_folder` noted."""
    path = folder(settings).resolve() / "supervisor.sock"
    note = folder(settings) / _NOTE
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES or not note.is_file():
        return path
    return Path(note.read_text(encoding="utf-8")) / path.name


def make_socket_folder(settings: Settings) -> None:
    """Make a folder for a socket whose path is too long: in the temporary folder, with a name nobody can guess."""
    place = socket(settings)
    if len(os.fsencode(place)) > _SOCKET_PATH_BYTES or not place.parent.is_dir():
        with written_in_place(folder(settings) / _NOTE) as temporary:
            temporary.write_text(tempfile.mkdtemp(prefix="recsys-"), encoding="utf-8")


def describe(service: Service, settings: Settings) -> str:
    """Command and environment that `launch.py` runs for a service, as JSON. Raises StackError."""
    program = service.program(settings)
    environment = {**program.environment, **KEPT, **NO_TELEMETRY, MARK: str(folder(settings)), "PYTHONUNBUFFERED": "1"}
    place = {"directory": str(program.socket.parent), "socket": program.socket.name} if program.socket else {}
    content = {"command": program.command, "directory": str(ROOT), "environment": environment, **place}
    return json.dumps(content, indent=1)


class Supervisor:
    """The supervisord of one exchange folder. Without one running, `running` is False and there are no processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def _rpc(self) -> Any:
        # A new connection per call: the transport does not recover from one that failed while supervisord was down.
        transport = SupervisorTransport(None, None, f"unix://{socket(self._settings)}")
        return ServerProxy("http://localhost", transport=transport).supervisor

    @property
    def running(self) -> bool:
        try:
            self._rpc.getState()
        except (OSError, Fault):
            return False
        return True

    @property
    def environment(self) -> dict[str, str]:
        """Variables that programs inherit: those of supervisord, which may have been started by another shell."""
        return psutil.Process(self._rpc.getPID()).environ() if self.running else dict(os.environ)

    def described(self, service: Service) -> str:
        """Description that a program was started with, or will be started again with; empty: none yet."""
        path = self._path(service)
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def describe(self, service: Service, description: str) -> None:
        """Replace the description of a program."""
        with written_in_place(self._path(service)) as temporary:
            temporary.write_text(description, encoding="utf-8")

    def _path(self, service: Service) -> Path:
        return folder(self._settings) / f"{service.name}.json"

    def start(self, services: Iterable[Service]) -> None:
        """Start supervisord, unless it runs; stop what runs with other settings than these. Raises StackError."""
        folder(self._settings).mkdir(parents=True, exist_ok=True)
        logs = self._settings.service_dir("logs")
        logs.mkdir(parents=True, exist_ok=True)
        for service in services:
            wanted = describe(service, self._settings)
            if self.described(service) != wanted:
                self.stop(service)
                self.describe(service, wanted)
        if self.running:
            return
        make_socket_folder(self._settings)
        place = {"STACK_PYTHON": sys.executable, "STACK_SOCKET": str(socket(self._settings))}
        environment = {**os.environ, **place, MARK: str(folder(self._settings))}
        command = [sys.executable, str(BIN / "supervisord"), "-c", str(CONFIGURATION)]
        cwd = folder(self._settings).parent
        done = subprocess.run(  # its own log is opened before its configuration's umask counts
            command, cwd=cwd, env=environment, check=False, capture_output=True, text=True, umask=0o077
        )
        if done.returncode:
            raise StackError(f"supervisord did not start: {(done.stderr or done.stdout).strip()}")
        if not until(lambda: self.running, PATIENCE_S):
            raise StackError(f"supervisord does not answer: see {logs / 'supervisord.log'}, then run `make down`.")

    def processes(self) -> dict[str, dict[str, Any]]:
        """Supervisord's information on each program, by name."""
        return {info["name"]: info for info in self._rpc.getAllProcessInfo()} if self.running else {}

    def run(self, service: Service) -> None:
        """Start a program, unless it runs."""
        self._tell(service, "startProcess", False, Faults.ALREADY_STARTED)

    def signal(self, service: Service, name: str) -> None:
        """Send a signal to a program that runs. Raises StackError."""
        self._tell(service, "signalProcess", name)

    def stop(self, service: Service) -> None:
        """Stop a program and wait for its end, unless it is stopped."""
        if self.running:
            self._tell(service, "stopProcess", True, Faults.NOT_RUNNING, Faults.BAD_NAME)

    def _tell(self, service: Service, what: str, argument: object, *no_matter: int) -> None:
        """Call a method of supervisord. Raises StackError for its faults, but for those that do not matter."""
        try:
            getattr(self._rpc, what)(service.name, argument)
        except Fault as fault:
            if fault.faultCode not in no_matter:
                raise StackError(f"{service.title}: supervisord's {what} failed: {fault.faultString}") from fault

    def shutdown(self) -> None:
        """End every program and supervisord itself, and whatever of the stack is left behind after that."""
        if self.running:
            self._rpc.stopAllProcesses()  # all at once, and waits for each
            self._rpc.shutdown()
        until(lambda: not self.running, PATIENCE_S)  # one that stays has the mark, too, and is ended below
        left = members(self._settings)
        for process in left:
            process.terminate()
        _, alive = psutil.wait_procs(left, timeout=15)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)


def members(settings: Settings) -> list[psutil.Process]:
    """Every living process of this exchange folder's stack: those with its mark in their environment."""
    mark = str(folder(settings))
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue  # ended meanwhile, or not ours to look at
    return found
