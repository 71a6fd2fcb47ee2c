"""The server under gunicorn, as `make serve` runs it, over services that are not there."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from stack.server import SERVER
from stack.service import ROOT
from tests.free_ports import settings_on_free_ports


@contextmanager
def running(
    folder: Path,
    settings: Settings | None = None,
    variables: Mapping[str, str] | None = None,
    **server_settings: object,
) -> Iterator[tuple[Settings, psutil.Process]]:
    """Its settings and gunicorn's master, once a worker answers. It logs to server.log in the folder.

    ``variables``: further ones of its environment.
    """
    settings = settings or settings_on_free_ports(folder)
    settings = settings.model_copy(
        update={"server": settings.server.model_copy(update=server_settings)}
    )
    program = SERVER.program(settings)
    environment = {**program.environment, **(variables or {})}
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            program.command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        for attempt in Retrying(stop=stop_after_delay(120), wait=wait_fixed(0.1)):
            with attempt:
                assert process.poll() is None, log.read_text()
                requests.get(f"{settings.server.url}/healthz", timeout=30)
        yield settings, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(120)
