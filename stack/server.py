"""The server, as the stack runs it: gunicorn over the app factory.

A server that runs goes on when its settings or its code change: new workers are added, which read both as they are by
then, and the old ones are stopped (a rolling restart). gunicorn's own signals do it: TTIN adds a worker; TTOU stops the
oldest once it has answered its requests. All of them accept from one socket, so no request is lost. (HUP would stop the
old ones before the new ones have loaded a release: requests would wait for that long.) Before that the application is
made in a process of its own: a worker that does not start would end gunicorn, and all others with it.
"""

from __future__ import annotations

import json
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

COMMAND: Final = (
    "-c",
    "online/gunicorn_conf.py",
    "online.main.s1_server:create_asgi()",
)
TRIAL: Final = (sys.executable, "-m", "stack.trial")
_ADDRESS: Final = ("RECSYS_SERVER__HOST", "RECSYS_SERVER__PORT")
_TRACE_LINES: Final = 20


class Server(Service):
    """gunicorn; it keeps no data, so there is nothing to prepare."""

    name = "server"
    title = "The server"
    ports = (Port(("server", "port"), 5000),)
    ready_within_s = 60.0

    def missing(self, settings: Settings) -> str | None:
        return (
            None if (BIN / "gunicorn").is_file() else f"gunicorn is missing from {BIN}"
        )

    def program(self, settings: Settings) -> Program:
        return Program(
            command=(str(BIN / "gunicorn"), *COMMAND),
            environment=environment_of(settings),
        )

    def version(self, settings: Settings) -> str:
        """The version, once services and release are ready. Raises NotReadyError with what the server lacks."""
        statuses = (requests.codes.ok, requests.codes.service_unavailable)
        answer = self.ask(settings, "/readyz", timeout_s=10, statuses=statuses).json()
        if answer["status"] == "ready":
            return VERSION
        absent = {
            name: service["message"]
            for name, service in answer["services"].items()
            if not service["ready"]
        }
        if absent:
            raise AbsentError(
                f"{' '.join(absent.values())} Run `make up`.",
                absent,
                degraded=answer["ready"],
            )
        with connect(settings.redis) as redis:
            if not redis.exists(LIVE_KEY):
                raise AbsentError(answer["message"], (), degraded=False)
        raise NotReadyError(answer.get("message", "a release is being opened"))


SERVER: Final = Server()


def try_to_start(description: str, inherited: dict[str, str]) -> None:
    """Make the application as a worker would, by a process of its own with the server's variables.

    Raises StackError: for a wrong setting in one sentence, for code that does not start with the end of the output.

    Args:
        description: of the program, as `launch.py` reads it.
        inherited: variables of its parent.
    """
    described = json.loads(description)["environment"]
    variables = launch.environment(
        inherited, described | {"RECSYS_SERVER__WARM_UP_S": "0"}
    )
    unchanged = "A server that runs goes on as before."
    try:
        tried = subprocess.run(
            TRIAL,
            cwd=ROOT,
            env=variables,
            check=False,
            capture_output=True,
            text=True,
            timeout=SERVER.ready_within_s,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(
            f"the server's code did not start within {error.timeout:g} s. {unchanged}"
        ) from error
    if tried.returncode == 0:
        return
    if said := tried.stdout.strip():
        raise StackError(f"{said.rstrip('.')}. {unchanged}")
    end = "\n".join(tried.stderr.strip().splitlines()[-_TRACE_LINES:])
    raise StackError(
        f"the server's code does not start. {unchanged} The end of its output:\n{end}"
    )


def goes_on(former: str, wanted: str) -> bool:
    """Whether a server that runs can go on with another description: it has the same command and address."""
    before, after = json.loads(former), json.loads(wanted)
    same_address = all(
        before["environment"].get(name) == after["environment"][name]
        for name in _ADDRESS
    )
    return same_address and bool(before["command"] == after["command"])


def renew(settings: Settings, supervisor: Supervisor, wanted: str) -> None:
    """Replace a running server's workers by new ones, with code and description as they are now.

    Returns when the new ones answer and the old ones do not. Raises StackError; then the former description counts for
    each worker that is started from then on.
    """
    former = supervisor.described(SERVER)
    supervisor.describe(SERVER, wanted)
    try:
        _replace_workers(settings, supervisor)
    except (StackError, psutil.Error) as error:
        supervisor.describe(SERVER, former)
        raise StackError(
            f"not all workers of the server were replaced ({error}), and old ones may still answer requests: "
            f"see {SERVER.log(settings)}"
        ) from error


def _replace_workers(settings: Settings, supervisor: Supervisor) -> None:
    old = workers(settings)
    gunicorn = psutil.Process(supervisor.processes()[SERVER.name]["pid"])
    children, wanted = len(gunicorn.children()), settings.server.workers

    def send(signal: str, remaining: int) -> None:
        supervisor.signal(SERVER, signal)
        _expect(lambda: len(gunicorn.children()) == remaining)

    for added in range(
        wanted
    ):  # signals of one kind do not queue: each waits for the effect of the last
        send("TTIN", children + added + 1)
    _expect(lambda: len(workers(settings) - old) >= wanted)
    for stopped in range(children):
        send("TTOU", children + wanted - stopped - 1)


def workers(settings: Settings) -> set[int]:
    """Process ids of the workers that answer; gunicorn's configuration keeps a file for each."""
    return {int(path.name) for path in settings.workers_dir("workers").iterdir()}


def _expect(holds: Callable[[], bool]) -> None:
    if not until(holds, SERVER.ready_within_s):
        raise StackError(f"{SERVER.title} took longer than {SERVER.ready_within_s:g} s")
