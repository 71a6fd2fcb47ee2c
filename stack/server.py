"""The server, as the stack runs it: gunicorn over the app factory.

If it runs already, `make serve` adds new workers, then stops the old ones (a rolling restart). gunicorn's own signals
do it: TTIN adds a worker, which imports the code as it is now; TTOU stops the oldest once it has answered its requests.
All of them accept from one socket, so no request is lost.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import psutil
import requests

from data_exchange_center import VERSION
from data_exchange_center.settings import Settings
from data_exchange_center.wire import LIVE_KEY
from online.clients.redis import connect
from stack import launch
from stack.service import (
    BIN,
    ROOT,
    AbsentError,
    NeedsActionError,
    NotReadyError,
    Port,
    Program,
    Service,
    StackError,
    environment_of,
    until,
)

if TYPE_CHECKING:
    from stack.supervision import Supervisor

COMMAND: Final = ("-c", "online/gunicorn_conf.py", "online.main.s1_server:create_asgi()")
_TRIAL: Final = "import os; from online.main.s1_server import create_app; create_app(); os._exit(0)"


class Server(Service):
    """gunicorn; it keeps no data, so there is nothing to prepare."""

    name = "server"
    title = "The server"
    ports = (Port(("server", "port"), 5000),)
    ready_within_s = 60.0

    def missing(self, settings: Settings) -> str | None:
        return None if (BIN / "gunicorn").is_file() else f"gunicorn is missing from {BIN}"

    def program(self, settings: Settings) -> Program:
        return Program(command=(str(BIN / "gunicorn"), *COMMAND), environment=environment_of(settings))

    def version(self, settings: Settings) -> str:
        """The version, once services and release are ready. Raises NotReadyError with what the server lacks."""
        self.ask(settings, "/healthz")
        statuses = (requests.codes.ok, requests.codes.service_unavailable)
        try:
            answer = self.ask(settings, "/readyz", timeout_s=10, statuses=statuses).json()
        except ValueError as error:
            port = settings.server.port
            raise NotReadyError(f"another program answers on port {port}: change RECSYS_SERVER__PORT") from error
        if answer["status"] == "ready":
            return VERSION
        absent = {name: service["message"] for name, service in answer["services"].items() if not service["ready"]}
        if absent:
            raise AbsentError(" ".join(absent.values()), absent, degraded=answer["ready"])
        with connect(settings.redis) as redis:
            if not redis.exists(LIVE_KEY):
                raise NeedsActionError(answer["message"])
        raise NotReadyError(answer.get("message", "a release is being opened"))


SERVER: Final = Server()


def renew(settings: Settings, supervisor: Supervisor) -> None:
    """Replace a running server's workers by new ones, with the code as it is now, and wait until they answer.

    Raises StackError; if the code does not start, before the server that runs is touched.
    """
    _try_to_start(settings)
    before, gunicorn = workers(settings), psutil.Process(supervisor.processes()[SERVER.name]["pid"])
    children, wanted = len(gunicorn.children()), settings.server.workers
    for number in range(1, wanted + 1):  # signals of one kind do not queue: each waits for the effect of the last
        supervisor.signal(SERVER, "TTIN")
        _expect(settings, lambda: len(gunicorn.children()) - children, number)
    _expect(settings, lambda: len(workers(settings) - before), wanted)
    for number in range(1, len(before) + 1):
        supervisor.signal(SERVER, "TTOU")
        _expect(settings, lambda: len(before - workers(settings)), number)


def workers(settings: Settings) -> set[int]:
    """Process ids of the workers that answer; gunicorn's configuration keeps a file for each."""
    return {int(path.name) for path in settings.workers_dir("workers").iterdir()}


def _expect(settings: Settings, count: Callable[[], int], at_least: int) -> None:
    if not until(lambda: count() >= at_least, SERVER.ready_within_s):
        raise StackError(
            f"not all workers of the server were replaced within {SERVER.ready_within_s:g} s, and old ones still "
            f"answer requests: see {SERVER.log(settings)}"
        )


def _try_to_start(settings: Settings) -> None:
    """Start the application in a process of its own: a worker that does not start ends gunicorn, and all others."""
    again = "The running server is unchanged. Fix the code, then run `make serve` again."
    environment = launch.environment({**SERVER.program(settings).environment, "RECSYS_SERVER__WARM_UP_S": "0"})
    command, within_s = [sys.executable, "-c", _TRIAL], SERVER.ready_within_s
    try:
        tried = subprocess.run(
            command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=within_s
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"the server's code did not start within {error.timeout:g} s. {again}") from error
    if tried.returncode:
        end = "\n".join(tried.stderr.strip().splitlines()[-20:])
        raise StackError(f"the server's code does not start. {again} The end of its output:\n{end}")
