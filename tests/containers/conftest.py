"""`make docker-demo` as a person runs it, in a real engine: a project, ports, a user and a folder of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from tenacity import (
    Retrying,
    retry,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from data_exchange_center.settings import Settings
from stack.commands import PROGRAMS
from tests.e2e.pipeline import ml_100k
from tests.free_ports import shifted_ports
from tests.needs import not_tested

ROOT = Path(__file__).parents[2]
PORT_SHIFT = 13_000  # away from the default stack and from the end-to-end tests'
# not the default, so that none is there by luck
UID = 1234 if os.geteuid() == 0 else os.geteuid()
PASSWORD = "p@ss w0rd#1 it's $x"
TOKEN = "token-of-a-private-index"
DEMO_SECONDS = 1_500


def engine_problem() -> str | None:
    """Why there is no Docker engine with Compose to run these tests with."""
    for command in (["docker", "version"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=60
            )
        except FileNotFoundError:
            return "docker is not installed"
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"{' '.join(command)} fails"])[
                -1
            ]
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if problem := engine_problem():
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(
                    pytest.mark.skip(
                        reason=not_tested(
                            f"a Docker engine ({problem})", ".ci/engine start"
                        )
                    )
                )


@dataclass(frozen=True)
class Containers:
    """A stack in containers, and how to drive it."""

    env: Mapping[str, str]
    settings: Settings
    project: str
    output: str = ""  # what `make docker-demo` printed

    def run(
        self, *command: str, seconds: float = 600, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """A command in the checkout's root. Does not raise on failure."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**self.env, **variables},
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def succeeds(self, *command: str, seconds: float = 600, **variables: str) -> str:
        done = self.run(*command, seconds=seconds, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def compose(self, *arguments: str) -> str:
        return self.succeeds("docker", "compose", *arguments)

    def container(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def inspect(self, service: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(
            self.succeeds("docker", "inspect", self.container(service))
        )
        return found[0]

    def recommend(self, userid: int, size: int = 50) -> requests.Response:
        return requests.post(
            f"{self.settings.server.url}/ml/rec",
            json={"userid": userid, "size": size, "strict": True},
            timeout=30,
        )

    def itemids(self, userid: int = 1) -> list[int]:
        """The films, in order. Not their scores: a history is a second older with every second."""
        for attempt in Retrying(
            stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True
        ):
            with attempt:  # a service that a busy machine keeps waiting is an error to a strict request
                response = self.recommend(userid)
                assert response.status_code == 200, response.text
        assert not response.json()["cold_start"]
        return [item["itemid"] for item in response.json()["item_list"]]

    def until_ready(self) -> None:
        """Until every container is healthy and the server could answer."""

        @retry(
            stop=stop_after_delay(120),
            wait=wait_fixed(0.5),
            retry=retry_if_exception_type((AssertionError, requests.RequestException)),
            reraise=True,
        )
        def ready() -> None:
            for service in PROGRAMS:
                state = self.inspect(service.name)["State"]
                assert (state["Status"], state["Health"]["Status"]) == (
                    "running",
                    "healthy",
                ), service.name
            answer = requests.get(f"{self.settings.server.url}/readyz", timeout=30)
            assert answer.status_code == 200, answer.text
            assert self.recommend(1).status_code == 200

        ready()


@contextmanager
def while_docker_keeps_its_proxies(containers: Containers) -> Iterator[None]:
    """Skip the test when the server is healthy and Docker's own process that publishes its port has died.

    Docker 20.10 ends a port's proxy with the thread that started it; seen on busy machines, the container then runs on.
    """
    try:
        yield
    except (requests.ConnectionError, AssertionError):
        port = str(containers.settings.server.port)
        proxies = [
            process
            for process in psutil.process_iter(["name", "cmdline", "status"])
            if process.info["name"] == "docker-proxy"
            and process.info["status"] != psutil.STATUS_ZOMBIE
            and port in (process.info["cmdline"] or ())
        ]
        if (
            proxies
            or containers.inspect("server")["State"]["Health"]["Status"] != "healthy"
        ):
            raise
        pytest.skip("Docker lost the proxy of a published port")


def left_behind(project: str) -> list[str]:
    """Containers, networks and volumes of the project."""
    found = []
    for kind in ("container", "network", "volume"):
        command = [
            "docker",
            kind,
            "ls",
            *(["--all"] if kind == "container" else []),
            "--quiet",
        ]
        command += ["--filter", f"label=com.docker.compose.project={project}"]
        found += subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.split()
    return found


def pip_configuration(path: Path) -> Path:
    """This machine's, with something in it that nobody should find in an image."""
    known = [
        Path(os.environ.get("PIP_CONFIG_FILE", "")),
        Path.home() / ".config/pip/pip.conf",
        Path("/etc/pip.conf"),
    ]
    content = next((file.read_text() for file in known if file.is_file()), "[global]\n")
    path.write_text(f"# {TOKEN}\n{content}")
    return path


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    folder = tmp_path_factory.mktemp("containers")
    # pytest's own folders are closed to the containers' user
    folder.parent.chmod(0o711)
    folder.chmod(0o755)
    data = ml_100k(folder / "ml-100k")
    exchange = folder / "exchange"  # made by docker.sh, as root where root runs it
    project = f"recsys-test-{os.getpid()}"
    changes = {
        **shifted_ports(PORT_SHIFT),
        "RECSYS_EXCHANGE_DIR": str(exchange),
        "RECSYS_DATA": str(data),
        "RECSYS_REDIS__PASSWORD": PASSWORD,
        "RECSYS_UID": str(UID),
        "RECSYS_BUILD_PIP_CONF": str(pip_configuration(folder / "pip.conf")),
        "COMPOSE_PROJECT_NAME": project,
    }
    patch = pytest.MonkeyPatch()
    for name, value in changes.items():
        patch.setenv(name, value)
    settings = Settings()
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "images")
    } | {"HOME": "/nonexistent"}
    stack = Containers(env, settings, project)
    try:
        output = stack.succeeds("make", "docker-demo", seconds=DEMO_SECONDS)
        yield Containers(env, settings, project, output)
    finally:
        patch.undo()
        stack.run("make", "docker-down")
        names = subprocess.run(
            ["docker", "image", "ls", "--format", "{{.Repository}}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        own = [name for name in names if re.fullmatch(rf"{project}-\w+", name)]
        subprocess.run(
            ["docker", "image", "rm", *own], capture_output=True, check=False
        )
    assert left_behind(project) == []
