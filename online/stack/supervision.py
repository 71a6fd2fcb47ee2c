"""supervisord over the programs of the stack: its configuration, rendered from settings, and its XML-RPC."""

from __future__ import annotations

import configparser
import hashlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings
from online.stack.service import ROOT, Program, Service, StackError

MARK: Final = "RECSYS_STACK"  # in the environment of every process of a stack: the folder of its supervisor
PATIENCE_S: Final = 15.0  # for supervisord itself to come up, or to go
_SOCKET_PATH_BYTES: Final = 90  # a Unix socket's path may have 107, and supervisord first makes a longer one


def folder(settings: Settings) -> Path:
    return settings.service_dir("supervisor")


def socket(settings: Settings) -> Path:
    """Where supervisord is spoken to: its folder, or the system's temporary folder when that path is too long."""
    path = folder(settings).resolve() / "supervisor.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"recsys-{digest}.sock"


def log(settings: Settings) -> Path:
    return settings.service_dir("logs") / "supervisord.log"


def _escaped(value: object) -> str:
    """A value for supervisord's configuration. Raises StackError for one that it cannot be told."""
    text = str(value)
    if re.search(r"[\s][;#]|[\r\n]", text):  # starts a comment, and there is no way around it
        raise StackError(
            f"{text!r} has a blank before ; or # in it, or a line break, which the supervisor's configuration cannot "
            "express: choose another path or value."
        )
    return text.replace("%", "%%")  # a per cent sign starts an expansion


def _environment(variables: dict[str, str]) -> str:
    pairs = []
    for name, value in sorted(variables.items()):
        mark = "'" if '"' in value else '"'  # a list of names is JSON, which has double ones
        if mark in value or value != value.strip("'\""):  # those at the ends are taken away
            raise StackError(
                f"{name} has a quotation mark in it, or at its end, which the supervisor cannot pass on: change it."
            )
        pairs.append(f"{name}={mark}{_escaped(value)}{mark}")
    return ",".join(pairs)


def _section(service: Service, program: Program, settings: Settings) -> dict[str, str]:
    return {
        "command": _escaped(shlex.join(program.command)),
        "directory": _escaped(program.directory),
        "environment": _environment({**program.environment, MARK: str(folder(settings)), "PYTHONUNBUFFERED": "1"}),
        "autostart": "false",
        "autorestart": "true",
        "startsecs": "1",
        "startretries": "3",
        "stopsignal": "TERM",
        "stopwaitsecs": str(program.stop_wait_s),
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _escaped(_escaped(service.log(settings))),  # this one is expanded twice
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": "1",
    }


def render(settings: Settings, services: Iterable[Service]) -> str:
    """supervisord's configuration for these services."""
    place = folder(settings)
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "logfile": _escaped(log(settings)),
        "logfile_maxbytes": "5MB",
        "logfile_backups": "1",
        "pidfile": _escaped(place / "supervisord.pid"),
        "identifier": "recsys",
    }
    config["unix_http_server"] = {"file": _escaped(socket(settings)), "chmod": "0700"}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for service in services:
        config[f"program:{service.name}"] = _section(service, service.program(settings), settings)
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


class Supervisor:
    """The supervisord of one exchange folder. Without one running, `running` is False and there are no processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._config = folder(settings) / "supervisord.conf"
        self._socket = socket(settings)

    @property
    def _rpc(self) -> Any:
        # A connection each: the transport does not get over one that failed while supervisord was not there.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        return ServerProxy("http://localhost", transport=transport).supervisor

    @property
    def running(self) -> bool:
        try:
            self._rpc.getState()
        except (OSError, Fault):
            return False
        return True

    def start(self, services: Iterable[Service]) -> None:
        """Start supervisord, or have it read the configuration again: what changed is stopped, the rest goes on."""
        folder(self._settings).mkdir(parents=True, exist_ok=True)
        self._settings.service_dir("logs").mkdir(parents=True, exist_ok=True)
        with written_in_place(self._config, mode=0o600) as temporary:  # it may hold a password
            temporary.write_text(render(self._settings, services), encoding="utf-8")
        if self.running:
            self._reload()
        else:
            self._launch()

    def _launch(self) -> None:
        environment = {**os.environ, MARK: str(folder(self._settings))}
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise StackError(f"supervisord did not start: {(done.stderr or done.stdout).strip()}")
        try:
            self._until(running=True)
        except RetryError as error:
            raise StackError(
                f"supervisord does not answer: see {log(self._settings)}, then run `make down`."
            ) from error

    def _until(self, *, running: bool) -> None:
        """Wait for supervisord to answer, or to answer no more. Raises RetryError."""
        unlike = retry_if_result(lambda now: now is not running)
        Retrying(stop=stop_after_delay(PATIENCE_S), wait=wait_fixed(0.05), retry=unlike)(lambda: self.running)

    def _reload(self) -> None:
        ((added, changed, removed),) = self._rpc.reloadConfig()
        for name in (*changed, *removed):
            self._rpc.stopProcessGroup(name)
            self._rpc.removeProcessGroup(name)
        for name in (*added, *changed):
            self._rpc.addProcessGroup(name)

    def processes(self) -> dict[str, dict[str, Any]]:
        """What supervisord knows of each program, by name."""
        return {info["name"]: info for info in self._rpc.getAllProcessInfo()} if self.running else {}

    def run(self, service: Service) -> None:
        """Start a program, unless it runs."""
        try:
            self._rpc.startProcess(service.name, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise StackError(f"{service.title} could not be started: {fault.faultString}") from fault

    def signal(self, service: Service, name: str) -> None:
        """Send a signal to a program that runs. Raises StackError."""
        try:
            self._rpc.signalProcess(service.name, name)
        except Fault as fault:
            raise StackError(f"{service.title} could not be sent {name}: {fault.faultString}") from fault

    def stop(self, service: Service) -> None:
        """Stop a program and wait for its end, unless it is stopped."""
        if not self.running:
            return
        try:
            self._rpc.stopProcess(service.name, True)
        except Fault as fault:
            if fault.faultCode not in (Faults.NOT_RUNNING, Faults.BAD_NAME):
                raise StackError(f"{service.title} could not be stopped: {fault.faultString}") from fault

    def shutdown(self) -> None:
        """End every program and supervisord itself, and whatever of the stack is left behind after that."""
        if self.running:
            self._rpc.stopAllProcesses()  # all at once, and waits for each
            self._rpc.shutdown()
        with suppress(RetryError):  # one that stays bears the mark, too, and is ended below
            self._until(running=False)
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
