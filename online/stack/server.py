"""The Flask server, as the stack runs it: gunicorn over the app factory."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import requests
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import VERSION
from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings
from data_exchange_center.wire import LIVE_KEY
from online.stack.redis.service import client as redis_client
from online.stack.service import (
    BIN,
    LOOPBACK,
    ROOT,
    NeedsActionError,
    NotReadyError,
    Port,
    Program,
    Service,
    StackError,
    ask,
)
from online.stack.supervision import Supervisor
from online.web.worker_marks import WorkerMarks

COMMAND: Final = ("-c", "online/gunicorn_conf.py", "online.main.s1_server:create_app()")
_SAID: Final = 20  # lines of a failed start that are shown


def prepare(_: Settings) -> None:
    """Nothing to lay out: the server keeps no data."""


def missing(_: Settings) -> str | None:
    return None if (BIN / "gunicorn").is_file() else f"gunicorn is missing from {BIN}"


def program(settings: Settings) -> Program:
    return Program(command=(str(BIN / "gunicorn"), *COMMAND), environment=settings.environment())


def version(settings: Settings) -> str:
    """The server is ready when its services and a release are. Raises NotReadyError with what it says is missing."""
    port = settings.server.port
    ask("The server", port, "/healthz")
    try:
        with local_session() as session:
            answer = session.get(f"http://{LOOPBACK}:{port}/readyz", timeout=10).json()
    except (requests.RequestException, ValueError) as error:
        raise NotReadyError(f"the server does not answer to /readyz on port {port} yet") from error
    if answer["ready"]:
        return VERSION
    absent = [service["message"] for service in answer["services"].values() if not service["ready"]]
    if not absent and not _release_is_live(settings):
        raise NeedsActionError(answer["message"])
    raise NotReadyError(" ".join(absent) or answer.get("message", "a release is being opened"))


def renew(settings: Settings, supervisor: Supervisor) -> None:
    """Have new workers take over in a server that runs, with the code as it is now. Returns when they have, or cannot.

    The old ones answer until the new ones do: nobody is turned away, and nobody waits. Raises StackError; if the code
    does not start, before the server that runs is touched.
    """
    _try_to_start(settings)
    marks = WorkerMarks(settings.started_workers_dir)
    before, pid = marks.pids(), supervisor.processes()[SERVER.name]["pid"]
    supervisor.renew(SERVER)

    def taken_over() -> bool:
        now = marks.pids()
        ended = supervisor.processes()[SERVER.name]["pid"] != pid
        return ended or (len(now) >= settings.server.workers and not now & before)

    waiting = Retrying(
        stop=stop_after_delay(SERVER.ready_within_s),
        wait=wait_fixed(0.1),
        retry=retry_if_result(lambda taken_over: not taken_over),
    )
    try:
        waiting(taken_over)
    except RetryError as error:
        raise StackError(
            f"the server's new workers do not answer after {SERVER.ready_within_s:g} s, so the old ones go on: see "
            f"{SERVER.log(settings)}"
        ) from error


def _try_to_start(settings: Settings) -> None:
    """A worker that does not start ends gunicorn, and those that answer with it. So that is found out beforehand."""
    again = "The server that runs goes on. Mend the code, then run `make serve` again."
    command = [sys.executable, "-m", "online.stack.trial", *COMMAND]
    environment = {**os.environ, **program(settings).environment, "RECSYS_SERVER__WARM_UP_S": "0"}
    try:
        tried = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=SERVER.ready_within_s,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"the server's code did not start within {error.timeout:g} s. {again}") from error
    if tried.returncode:
        end = "\n".join(tried.stderr.strip().splitlines()[-_SAID:])
        raise StackError(f"the server's code does not start. {again} The end of what it said:\n{end}")


def _release_is_live(settings: Settings) -> bool:
    with redis_client(settings) as redis:
        return bool(redis.exists(LIVE_KEY))


SERVER: Final = Service(
    name="server",
    title="The server",
    group="server",
    ports=(Port(("server", "port"), 5000),),
    prepare=prepare,
    missing=missing,
    program=program,
    version=version,
    ready_within_s=60.0,
)
