"""`make demo` as a person runs it, once for all end-to-end tests, on ports and in a folder of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings

ROOT = Path(__file__).parents[2]
PORT_SHIFT = 11_000  # away from the default stack, below the ephemeral ports
DEMO_SECONDS = 1_800


@dataclass(frozen=True)
class Road:
    """A checkout whose whole road has been run, and how to drive it further."""

    env: Mapping[str, str]
    settings: Settings
    output: str  # what `make demo` printed

    def run(self, *command: str, folder: str = ".", seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """A command in a folder of the checkout, with this road's settings. Does not raise on failure."""
        return subprocess.run(
            command, cwd=ROOT / folder, env=self.env, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def step(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A numbered step, from its own folder, with the project's Python."""
        folder, name = os.path.split(script)
        return self.run(str(ROOT / ".venv/bin/python"), name, *arguments, folder=folder)

    def stack(self, *arguments: str) -> str:
        """``python -m online.stack``; its output. Fails the test when the command fails."""
        done = self.run(str(ROOT / ".venv/bin/python"), "-m", "online.stack", *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def release(self) -> str:
        """`make offline` and `make sync`: the id of the release that is live afterwards."""
        for target in ("offline", "sync"):
            done = self.run("make", target, seconds=DEMO_SECONDS)
            assert done.returncode == 0, done.stdout
        return done.stdout.rpartition("is live")[0].split()[-1]

    def wait_for_release(self, release: str) -> dict[str, Any]:
        """User 1's first answer of a release: each worker opens it when it is asked."""
        for attempt in Retrying(
            stop=stop_after_delay(30), wait=wait_fixed(0.2), retry=retry_if_exception_type(AssertionError)
        ):
            with attempt:
                answers = [self.recommend(userid).json() for userid in range(1, 9)]
                assert {answer.get("release") for answer in answers} == {release}
        return answers[0]

    def recommend(self, userid: int, size: int = 50) -> requests.Response:
        body = {"userid": userid, "size": size}
        return requests.post(f"{self.settings.server.url}/ml/rec", json=body, timeout=10)


def processes_of(folder: Path) -> list[str]:
    """Command lines of the running processes that mention ``folder`` in their command or environment."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        where = (*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values())
        if process.pid != os.getpid() and any(str(folder) in text for text in where):
            found.append(" ".join(process.info["cmdline"] or ["?"]))
    return found


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    exchange = tmp_path_factory.mktemp("demo") / "exchange"
    default = Settings()
    ports = {
        "REDIS__PORT": default.redis.port,
        "ELASTICSEARCH__PORT": default.elasticsearch.port,
        "ELASTICSEARCH__TRANSPORT_PORT": default.elasticsearch.transport_port,
        "FEAST__PORT": default.feast.port,
        "TRITON__HTTP_PORT": default.triton.http_port,
        "TRITON__GRPC_PORT": default.triton.grpc_port,
        "TRITON__METRICS_PORT": default.triton.metrics_port,
        "SERVER__PORT": default.server.port,
    }
    changes = {f"RECSYS_{name}": str(port + PORT_SHIFT) for name, port in ports.items()}
    changes["RECSYS_EXCHANGE_DIR"] = str(exchange)
    patch = pytest.MonkeyPatch()
    for name, value in changes.items():
        patch.setenv(name, value)
    try:
        environment = Road(env=dict(os.environ), settings=Settings(), output="")
        done = environment.run("make", "demo", seconds=DEMO_SECONDS)
        assert done.returncode == 0, done.stdout
        yield Road(environment.env, environment.settings, done.stdout)
    finally:
        patch.undo()
        subprocess.run(["make", "down"], cwd=ROOT, env={**os.environ, **changes}, check=True, timeout=120)
    assert processes_of(exchange) == []
