"""One more process of a service than the stack starts, killed, stopped and started by a test; and a wait."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from online.stack.service import ROOT, NotReadyError, Service

PATIENCE_S = 120.0  # on a busy machine


def until(what: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until ``what`` is true, or fail."""
    for attempt in Retrying(stop=stop_after_delay(within_s), wait=wait_fixed(0.05), reraise=True):
        with attempt:
            assert what(), f"not within {within_s:g} s"


class ServiceProcess:
    """A process of `service` with these settings, whose folder or database has all of it. It logs to a file."""

    def __init__(self, service: Service, settings: Settings, log: Path) -> None:
        self.settings = settings
        self._service, self._log = service, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it is ready."""
        program = self._service.program(self.settings)
        environment = {**os.environ, **program.environment}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                program.command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        for attempt in Retrying(
            stop=stop_after_delay(PATIENCE_S),
            wait=wait_fixed(0.1),
            retry=retry_if_exception_type(NotReadyError),
            reraise=True,
        ):
            with attempt:
                assert self._process.poll() is None, self._log.read_text()
                self._service.version(self.settings)

    def kill(self) -> None:
        """With its children, and no chance to say so."""
        assert self._process is not None
        master = psutil.Process(self._process.pid)
        master.suspend()  # so that it starts no other child meanwhile
        for process in (*master.children(recursive=True), master):
            process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """As a person does: it ends what it is at. Nothing where it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)
