"""HAProxy as `past_one_machine.balancer` configures it; a test that wants it is skipped without one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tenacity import Retrying, stop_after_delay, wait_fixed

from online.stack.preflight import is_taken
from online.stack.service import LOOPBACK
from past_one_machine.balancer import render
from tests.free_ports import free_ports
from tests.needs import program


@contextmanager
def balanced(kind: str, addresses: Sequence[str], folder: Path) -> Iterator[str]:
    """Its own address, before some others. It logs to a file in the folder."""
    haproxy = program("haproxy")
    (port,), path = free_ports(1), folder / "haproxy.cfg"
    path.write_text(render(kind, port, addresses))
    with (folder / "haproxy.log").open("w") as log:
        process = subprocess.Popen([haproxy, "-db", "-f", str(path)], stdout=log, stderr=subprocess.STDOUT)
    try:
        for attempt in Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.05), reraise=True):
            with attempt:
                assert is_taken(port), (folder / "haproxy.log").read_text()
        yield f"http://{LOOPBACK}:{port}"
    finally:
        process.terminate()
        process.wait(30)
