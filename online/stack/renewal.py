"""`make serve` where the server runs already: new workers take over from the old ones."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from online.stack.server import COMMAND, SERVER
from online.stack.service import ROOT, StackError
from online.stack.supervision import Supervisor
from online.web.worker_marks import WorkerMarks

_SAID: Final = 20  # lines of a failed start that are shown


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
    environment = {**os.environ, **SERVER.program(settings).environment, "RECSYS_SERVER__WARM_UP_S": "0"}
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
