"""Run the stack's programs under supervisord: supervisord.conf is static, and supervisord is driven by its XML-RPC.

Each program's command is in a file of its own, which `launch.py` reads at each start. Where changed settings change the
file, the program is stopped before its file is rewritten; the server goes on, with new workers (`stack.server.renew`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
# gunicorn's titles, where setproctitle is installed, would write over the environment
KEPT: Final = {"SPT_NOENV": "1"}
PATIENCE_S: Final = 15.0  # for supervisord itself to come up, or to go


def folder(settings: Settings) -> Path:
    return settings.service_dir("supervisor")


def describe(service: Service, settings: Settings) -> str:
    """Command and environment that `launch.py` runs for a service, as JSON. Raises StackError."""
    program = service.program(settings)
    environment = {
        **program.environment,
        **KEPT,
        **NO_TELEMETRY,
        MARK: str(folder(settings)),
        "PYTHONUNBUFFERED": "1",
    }
    content: dict[str, Any] = {
        "command": program.command,
        "directory": str(ROOT),
        "environment": environment,
    }
    if program.socket:
        content["directory"] = str(program.socket.parent)
        content["socket"] = program.socket.name
    return json.dumps(content, indent=1)


class Supervisor:
    """The supervisord of one exchange folder. Without one running, `running` is False and there are no processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _call(self, method: str, *arguments: object) -> Any:
        """Call a method of supervisord's XML-RPC. Raises OSError where none runs, Fault.

        A new connection each time: the transport does not recover from a failed one. It goes through a descriptor of
        the folder, as the path of a Unix socket has 107 bytes at most.
        """
        descriptor = os.open(folder(self._settings), os.O_RDONLY)
        try:
            socket = f"unix:///proc/self/fd/{descriptor}/supervisor.sock"
            proxy = ServerProxy(
                "http://localhost", transport=SupervisorTransport(None, None, socket)
            )
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            os.close(descriptor)

    @property
    def running(self) -> bool:
        try:
            self._call("getState")
        except (OSError, Fault):
            return False
        return True

    @property
    def environment(self) -> dict[str, str]:
        """Variables that programs inherit: those of supervisord, which may have been started by another shell."""
        return (
            psutil.Process(self._call("getPID")).environ()
            if self.running
            else dict(os.environ)
        )

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

    def launch(self) -> None:
        """Start supervisord, unless it runs. Raises StackError."""
        if self.running:
            return
        logs = self._settings.service_dir("logs")
        for needed in (folder(self._settings), logs):
            needed.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, str(BIN / "supervisord"), "-c", str(CONFIGURATION)],
            cwd=folder(self._settings).parent,
            env={
                **os.environ,
                "STACK_PYTHON": sys.executable,
                MARK: str(folder(self._settings)),
            },
            check=False,
            capture_output=True,
            text=True,
            umask=0o077,  # it opens its own log before its configuration's umask counts
        )
        if done.returncode:
            raise StackError(
                f"supervisord did not start: {(done.stderr or done.stdout).strip()}"
            )
        if not until(lambda: self.running, PATIENCE_S):
            raise StackError(
                f"supervisord does not answer: see {logs / 'supervisord.log'}, then run `make down`."
            )

    def processes(self) -> dict[str, dict[str, Any]]:
        """Supervisord's information on each program, by name."""
        return (
            {info["name"]: info for info in self._call("getAllProcessInfo")}
            if self.running
            else {}
        )

    def alive(self) -> set[str]:
        """Names of the programs that run."""
        return {
            name
            for name, info in self.processes().items()
            if info["statename"] in ("RUNNING", "STARTING")
        }

    def run(self, service: Service) -> None:
        """Start a program, unless it runs."""
        self._change("startProcess", service, False, unless=Faults.ALREADY_STARTED)

    def signal(self, service: Service, name: str) -> None:
        """Send a signal to a program that runs. Raises StackError."""
        self._change("signalProcess", service, name)

    def stop(self, service: Service) -> None:
        """Stop a program and wait for its end, unless it is stopped."""
        if self.running:
            self._change("stopProcess", service, True, unless=Faults.NOT_RUNNING)

    def _change(
        self, method: str, service: Service, argument: object, unless: int | None = None
    ) -> None:
        """Call a method of a program. Raises StackError for each fault but ``unless``."""
        try:
            self._call(method, service.name, argument)
        except Fault as fault:
            if fault.faultCode != unless:
                raise StackError(
                    f"{service.title}: supervisord's {method} failed: {fault.faultString}"
                ) from fault

    def shutdown(self) -> None:
        """End every program and supervisord itself, and whatever of the stack is left behind after that."""
        if self.running:
            self._call("stopAllProcesses")  # all at once, and waits for each
            self._call("shutdown")
        # one that stays has the mark, too, and is ended below
        until(lambda: not self.running, PATIENCE_S)
        left = members(self._settings)
        for process in left:
            process.terminate()
        _, stubborn = psutil.wait_procs(left, timeout=15)
        for process in stubborn:
            process.kill()
        psutil.wait_procs(stubborn, timeout=5)


def members(settings: Settings) -> list[psutil.Process]:
    """Every living process of this exchange folder's stack: those with its mark in their environment."""
    mark = str(folder(settings))
    found = []
    for process in psutil.process_iter(
        ["environ"]
    ):  # None where it is not ours to read
        if (
            process.pid != os.getpid()
            and (process.info["environ"] or {}).get(MARK) == mark
        ):
            found.append(process)
    return found
