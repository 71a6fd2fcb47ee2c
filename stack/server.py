"""The server, as the stack runs it: gunicorn over the app factory.

A server that runs goes on when its settings or its code change: new workers are added, which read both as they are by
then, and the old ones are stopped (a rolling restart). gunicorn's own signals do it: TTIN adds a worker; TTOU stops the
oldest once it has answered its requests. All of them accept from one socket, so no request is lost. (HUP would stop the
old ones before the new ones have loaded a release: requests would wait for that long.) Before that the application is
made in a process of its own: a worker that does not start would end gunicorn, and all others with it.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import psutil
import requests

from data_exchange_center import VERSION
from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings
from data_exchange_center.wire import LIVE_KEY
from online.clients.redis import connect
from stack import launch
from stack.service import (
    BIN,
    READY_WITHIN_S,
    ROOT,
    NotReadyError,
    Program,
    Service,
    StackError,
    environment_of,
    until,
)
from stack.supervision import Supervisor

COMMAND: Final = (
    "-c",
    "online/gunicorn_conf.py",
    "online.main.s1_server:create_asgi()",
)
TRIAL: Final = (sys.executable, "-m", "stack.trial")


class Server(Service):
    """gunicorn; it keeps no data, so there is nothing to prepare."""

    name = "server"
    title = "The server"

    def program(self, settings: Settings) -> Program:
        """A master process of another version would start workers with code that it cannot run."""
        return Program(
            (str(BIN / "gunicorn"), *COMMAND),
            environment_of(settings),
            fixed=f"{VERSION} on {settings.server.host}:{settings.server.port}",
        )

    def version(self, settings: Settings) -> str:
        """The version, once services and release are ready. Raises NotReadyError with what the server lacks."""
        where = self.where(settings)
        try:
            with local_session() as session:
                answer = session.get(f"{where}/readyz", timeout=10).json()
        except (requests.RequestException, ValueError) as error:
            raise NotReadyError(f"it does not answer on {where} yet") from error
        if answer["status"] == "ready":
            return VERSION
        absent = {
            name: service["message"]
            for name, service in answer["services"].items()
            if not service["ready"]
        }
        if absent:
            message = f"{' '.join(absent.values())} Run `make up`."
            raise NotReadyError(message, absent, degraded=answer["ready"])
        with connect(settings.redis) as redis:
            opens = redis.exists(LIVE_KEY)
        raise NotReadyError(
            answer.get("message", "a release is being opened"), None if opens else ()
        )


SERVER: Final = Server()


def try_to_start(description: str) -> None:
    """Make the application as a worker would, by a process of its own with the server's variables. Raises StackError.

    ``description``: of the program, as `launch.py` reads it.
    """
    described = json.loads(description)["environment"]
    tried = subprocess.run(
        TRIAL,
        cwd=ROOT,
        env=launch.environment(described | {"RECSYS_SERVER__WARM_UP_S": "0"}),
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    if tried.returncode:
        *_, said = tried.stderr.strip().splitlines()
        raise StackError(
            f"the server does not start: {said}. One that runs goes on as before; "
            f"for more, run {' '.join(TRIAL)}."
        )


def goes_on(former: str, wanted: str) -> bool:
    """Whether a server that runs can go on with another description."""
    before, after = json.loads(former), json.loads(wanted)
    return bool(before.get("fixed") == after["fixed"])


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
    former, wanted = len(gunicorn.children()), settings.server.workers

    # signals of one kind do not queue: each waits for the effect of the last
    def send(signal: str, remaining: int) -> None:
        supervisor.signal(SERVER, signal)
        _expect(lambda: len(gunicorn.children()) == remaining)

    for added in range(wanted):
        send("TTIN", former + added + 1)
    _expect(lambda: len(workers(settings) - old) >= wanted)
    for remaining in reversed(range(wanted, wanted + former)):
        send("TTOU", remaining)


def workers(settings: Settings) -> set[int]:
    """Process ids of the workers that answer; gunicorn's configuration keeps a file for each."""
    return {int(path.name) for path in settings.workers_dir("workers").iterdir()}


def _expect(holds: Callable[[], bool]) -> None:
    if not until(holds, READY_WITHIN_S):
        raise StackError(f"it took longer than {READY_WITHIN_S:g} s")
