"""One more process of a service than the stack starts, and HAProxy before some: killed and started by a test."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from data_exchange_center.settings import Settings
from stack.preflight import is_taken
from stack.service import LOOPBACK, ROOT, NotReadyError, Service
from tests.free_ports import free_ports
from tests.needs import program
from tests.waiting import until

PATIENCE_S = 120.0  # on a busy machine


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
                program.command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        process = self._process

        def version() -> str:
            assert process.poll() is None, self._log.read_text()
            return self._service.version(self.settings)

        until(version, PATIENCE_S, 0.1, despite=(NotReadyError,))

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


@contextmanager
def balanced(addresses: tuple[str, str], folder: Path) -> Iterator[str]:
    """Address of HAProxy in front of two servers; it logs to a file in the folder. Skips where it is missing."""
    haproxy = program("haproxy")
    (port,) = free_ports(1)
    variables = {
        "BIND": f"{LOOPBACK}:{port}",
        "SERVER_1": addresses[0],
        "SERVER_2": addresses[1],
    }
    command = [haproxy, "-db", "-f", str(ROOT / "past_one_machine" / "haproxy.cfg")]
    log = folder / "haproxy.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: is_taken(port) or process.poll() is not None, said=log.read_text)
        assert process.poll() is None, log.read_text()
        yield f"http://{LOOPBACK}:{port}"
    finally:
        process.terminate()
        process.wait(30)
