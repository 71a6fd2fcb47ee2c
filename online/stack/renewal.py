"""`make serve` where the server runs already: new workers are added, then the old ones are taken away.

gunicorn's own signals do it: TTIN adds a worker, which imports the code as it is now, TTOU takes the oldest away once
it has answered what it had in hand. All of them accept from one socket, so no request is lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import psutil
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from online.stack.server import SERVER
from online.stack.service import ROOT, StackError
from online.stack.supervision import Supervisor

_SHOWN: Final = 20  # lines of a failed start
_TRIAL: Final = "import os; from online.main.s1_server import create_app; create_app(); os._exit(0)"


def renew(settings: Settings, supervisor: Supervisor) -> None:
    """Have new workers take over in a server that runs, with the code as it is now. Returns when they have.

    Raises StackError; if the code does not start, before the server that runs is touched.
    """
    _try_to_start(settings)
    before, gunicorn = workers(settings), psutil.Process(supervisor.processes()[SERVER.name]["pid"])
    children = len(gunicorn.children())
    try:  # signals of one kind do not queue: each is sent when the last one has had its effect
        for number in range(1, settings.server.workers + 1):
            supervisor.signal(SERVER, "TTIN")
            _until(lambda: len(gunicorn.children()), children + number)
        _until(lambda: len(workers(settings) - before), settings.server.workers)
    except RetryError as error:
        raise StackError(
            f"the server's new workers do not answer after {SERVER.ready_within_s:g} s, so the old ones go on with "
            f"them: see {SERVER.log(settings)}"
        ) from error
    for number in range(1, len(before) + 1):
        supervisor.signal(SERVER, "TTOU")
        _until(lambda: len(before - workers(settings)), number)


def workers(settings: Settings) -> set[int]:
    """Process ids of the workers that answer; gunicorn's configuration keeps a file for each."""
    return {int(path.name) for path in settings.started_workers_dir.iterdir()}


def _until(count: Callable[[], int], at_least: int) -> None:
    """Raises RetryError."""
    within = stop_after_delay(SERVER.ready_within_s)
    Retrying(stop=within, wait=wait_fixed(0.1), retry=retry_if_result(lambda now: now < at_least))(count)


def _try_to_start(settings: Settings) -> None:
    """Start the application in a process of its own: a worker that does not start ends gunicorn, and all others."""
    again = "The server that runs goes on. Mend the code, then run `make serve` again."
    environment = {**os.environ, **SERVER.program(settings).environment, "RECSYS_SERVER__WARM_UP_S": "0"}
    command = [sys.executable, "-c", _TRIAL]
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
        end = "\n".join(tried.stderr.strip().splitlines()[-_SHOWN:])
        raise StackError(f"the server's code does not start. {again} The end of what it said:\n{end}")
