"""Run the stack's programs under supervisord: supervisord.conf is static, and supervisord is driven by its XML-RPC.

Each program's command is in a file of its own, which `launch.py` reads at each start. Where changed settings change the
file, the program is stopped before its file is rewritten; the server goes on, with new workers (`stack.server.renew`).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from data_exchange_center import NO_TELEMETRY
from data_exchange_center.files import write_text
from data_exchange_center.settings import Settings
from stack.service import BIN, ROOT, Service, StackError, until

CONFIGURATION: Final = Path(__file__).with_name("supervisord.conf")
MARK: Final = "RECSYS_STACK"  # in the environment of every process of a stack: the folder of its supervisor
COMMON: Final = {
    # gunicorn's titles, where setproctitle is installed, would write over the environment
    "SPT_NOENV": "1",
    "PYTHONUNBUFFERED": "1",
    **NO_TELEMETRY,
}
PATIENCE_S: Final = 15.0  # for supervisord, and for what it leaves behind, to end


def folder(settings: Settings) -> Path:
    return settings.service_dir("supervisor")


def describe(service: Service, settings: Settings) -> str:
    """Command and environment that `launch.py` runs for a service, as JSON. Raises StackError."""
    program = service.program(settings)
    mark = {MARK: str(folder(settings))}
    content = {
        "command": program.command,
        "directory": str(ROOT),
        "environment": {**program.environment, **COMMON, **mark},
        "fixed": program.fixed,
    }
    return json.dumps(content, indent=1)


class Supervisor:
    """The supervisord of one exchange folder. Without one running, `running` is False and there are no processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._folder = settings, folder(settings)

    def _call(self, method: str, *arguments: object) -> Any:
        """Call a method of supervisord's XML-RPC. Raises OSError where none runs, StackError where it refuses.

        A new connection each time: the transport does not recover from a failed one. It goes through a descriptor of
        the folder, as the path of a Unix socket has 107 bytes at most.
        """
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            socket = f"unix:///proc/self/fd/{descriptor}/supervisor.sock"
            transport = SupervisorTransport(None, None, socket)
            proxy = ServerProxy("http://localhost", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except Fault as fault:
            message = f"supervisord's {method} failed: {fault.faultString}"
            raise StackError(message) from fault
        finally:
            os.close(descriptor)

    @property
    def running(self) -> bool:
        try:
            self._call("getState")
        except (OSError, StackError):
            return False
        return True

    def described(self, service: Service) -> str:
        """Description that a program was started with, or will be started again with."""
        return self._path(service).read_text(encoding="utf-8")

    def describe(self, service: Service, description: str) -> None:
        """Replace the description of a program."""
        write_text(self._path(service), description)

    def _path(self, service: Service) -> Path:
        return self._folder / f"{service.name}.json"

    def launch(self) -> None:
        """Start supervisord, unless it runs. Raises StackError."""
        if self.running:
            return
        for needed in (self._folder, self._settings.service_dir("logs")):
            needed.mkdir(parents=True, exist_ok=True)
        own = {"STACK_PYTHON": sys.executable, MARK: str(self._folder)}
        done = subprocess.run(
            [sys.executable, str(BIN / "supervisord"), "-c", str(CONFIGURATION)],
            cwd=self._folder.parent,
            env={**os.environ, **own},
            check=False,
            capture_output=True,
            text=True,
            umask=0o077,  # it opens its own log before its configuration's umask counts
        )
        if done.returncode:
            said = done.stderr or done.stdout
            raise StackError(f"supervisord did not start: {said.strip()}")

    def processes(self) -> dict[str, dict[str, Any]]:
        """Supervisord's information on each program, by name."""
        if not self.running:
            return {}
        return {info["name"]: info for info in self._call("getAllProcessInfo")}

    def alive(self) -> set[str]:
        """Names of the programs that run, or are being started."""
        states = ("RUNNING", "STARTING", "BACKOFF")
        found = self.processes().values()
        return {info["name"] for info in found if info["statename"] in states}

    def run(self, service: Service) -> None:
        """Start a program that does not run."""
        self._call("startProcess", service.name, False)

    def signal(self, service: Service, name: str) -> None:
        """Send a signal to a program that runs. Raises StackError."""
        self._call("signalProcess", service.name, name)

    def stop(self, service: Service) -> None:
        """Stop a program and wait for its end, unless it is stopped."""
        if service.name in self.alive():
            self._call("stopProcess", service.name, True)

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
        _, stubborn = psutil.wait_procs(left, PATIENCE_S)
        for process in stubborn:
            process.kill()
        psutil.wait_procs(stubborn, PATIENCE_S)


def members(settings: Settings) -> list[psutil.Process]:
    """Every living process of this exchange folder's stack: those with its mark in their environment."""
    mark = str(folder(settings))
    return [
        process
        for process in psutil.process_iter(["environ"])
        # None where it is not ours to read
        if (process.info["environ"] or {}).get(MARK) == mark
        and process.pid != os.getpid()
    ]
