"""`make docker-demo` as a person runs it, in a real engine: a project, ports, a user and a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import requests
from tenacity import (
    Retrying,
    retry,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from stack.commands import PROGRAMS, by_name
from stack.service import LOOPBACK, Service
from stack.triton import service as triton
from tests.e2e.pipeline import ml_100k
from tests.free_ports import shifted_ports
from tests.needs import not_tested
from tests.services.online.load import load
from tests.waiting import until

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


# The stack in a real engine: what runs is what the catalogue says, and it survives what happens to containers.


ids = {"ids": lambda service: service.name}
# .ci/engine's
ENGINE = Path(os.environ.get("RECSYS_ENGINE_DIR", "/var/tmp/recsys-engine"))


class TestDemo:
    """`make docker-demo`."""

    def test_it_prints_fifty_films_for_user_1(self, containers: Containers) -> None:
        rows = re.findall(r"^│ +(\d+) │", containers.output, re.MULTILINE)
        assert [int(row) for row in rows] == list(range(1, 51))
        assert "Ask it yourself:" in containers.output

    def test_every_check_of_the_sync_ran_and_the_release_is_live(
        self, containers: Containers
    ) -> None:
        assert "each read back equal to its source" in containers.output
        assert "offline against online" in containers.output
        assert re.search(r"release \w+ is live", containers.output)

    def test_the_server_answers_this_machine(self, containers: Containers) -> None:
        assert len(containers.itemids()) == 50
        url = f"{containers.settings.server.url}/readyz"  # of any worker: another one may still open the release
        until(
            lambda: requests.get(url, timeout=30).ok,
            said=lambda: requests.get(url, timeout=30).text,
        )
        ready = requests.get(url, timeout=30)
        assert ready.json()["services"]["triton"]["version"] == triton.VERSION

    def test_written_files_belong_to_the_user(self, containers: Containers) -> None:
        exchange = containers.settings.exchange_dir
        owners = {
            path.lstat().st_uid
            for path in exchange.rglob("*")
            if "secrets" not in path.parts
        }
        assert owners == {UID}
        assert artifacts.DATASET.read(exchange)["counts"]["ratings"] == 100_000


@pytest.mark.parametrize("service", PROGRAMS, **ids)
def test_no_secret_is_shown_by_docker_inspect(
    containers: Containers, service: Service
) -> None:
    shown = containers.succeeds("docker", "inspect", containers.container(service.name))
    assert PASSWORD not in shown
    assert PASSWORD.partition(" ")[0] not in shown


@pytest.mark.parametrize("image", [service.name for service in PROGRAMS])
def test_no_layer_has_a_secret_of_the_build(containers: Containers, image: str) -> None:
    name = f"{containers.project}-{image}"
    assert TOKEN not in containers.succeeds("docker", "history", "--no-trunc", name)
    found = containers.run(
        *("docker", "run", "--rm", "--user", "0", "--entrypoint", "grep", name),
        *(
            "--recursive",
            "--binary-files=without-match",
            "--files-with-matches",
            "--no-messages",
        ),
        *("--exclude-dir=proc", "--exclude-dir=sys", "--exclude-dir=dev", TOKEN, "/"),
    )
    assert (found.returncode, found.stdout) == (
        1,
        "",
    )  # grep's way to say that there is none


def test_the_server_is_small_and_has_no_torch(containers: Containers) -> None:
    name = f"{containers.project}-server"
    assert (
        int(
            containers.succeeds(
                "docker", "image", "inspect", "--format", "{{.Size}}", name
            )
        )
        < 500_000_000
    )
    missing = containers.run(
        "docker", "run", "--rm", name, "python", "-c", "import torch"
    )
    assert "No module named 'torch'" in missing.stdout


@pytest.mark.parametrize(
    "service", [by_name("elasticsearch"), by_name("server")], **ids
)
def test_one_that_is_killed_under_load_comes_back(
    containers: Containers, service: Service
) -> None:
    """Until then requests get its error, in our own shape, or that the server, which is back, opens its release;
    afterwards the answers are the same."""
    before = containers.itemids()
    bodies = [{"userid": userid, "size": 10, "strict": True} for userid in range(1, 51)]
    with load(containers.settings.server.url, bodies, clients=1) as requested:
        if os.geteuid() == 0:  # as a crash: the engine has to start it again
            os.kill(containers.inspect(service.name)["State"]["Pid"], signal.SIGKILL)
        else:
            containers.succeeds("docker", "kill", containers.container(service.name))
            containers.succeeds("docker", "start", containers.container(service.name))
        containers.until_ready()
    known = [answer for answer in requested.answers if answer.status]
    assert {answer.status for answer in known} <= {200, 503}
    errors = [answer.body["error"] for answer in known if answer.status == 503]
    unexplained = [
        error
        for error in errors
        if "service" not in error and error["code"] != "release_opening"
    ]
    assert unexplained == []
    # nobody else's end cuts a connection
    assert service.name == "server" or len(known) == len(requested.answers)
    assert containers.itemids() == before


def test_containers_and_local_stack_read_each_others_data(
    containers: Containers,
) -> None:
    with while_docker_keeps_its_proxies(containers):
        before = containers.itemids()
        containers.succeeds("make", "docker-down")
        try:
            containers.succeeds("make", "up")
            containers.succeeds("make", "serve")
            assert containers.itemids() == before
        finally:
            containers.succeeds("make", "down")
        containers.succeeds("make", "docker-up")
        containers.until_ready()
        assert containers.itemids() == before
        owners = {
            path.lstat().st_uid
            for path in (containers.settings.exchange_dir / "online/redis").rglob("*")
        }
        assert owners == {UID}


def test_quality_is_measured_in_a_container(containers: Containers) -> None:
    containers.compose("run", "--rm", "steps", "make", "quality")
    until(
        lambda: requests.get(
            f"{containers.settings.server.url}/ml/quality", timeout=30
        ).json()["made"]
    )


@pytest.mark.skipif(
    not (ENGINE / "pid").is_file(), reason="the engine is not the tests' own"
)
def test_the_engine_restarts_and_brings_it_back(containers: Containers) -> None:
    with while_docker_keeps_its_proxies(containers):
        before = containers.itemids()
        for command in ("stop", "start"):
            containers.succeeds(".ci/engine", command)
        containers.until_ready()
        assert containers.itemids() == before


class TestFaults:
    """Each is one clear sentence. The stack is down meanwhile."""

    @pytest.fixture(autouse=True, scope="class")
    def _down(self, containers: Containers) -> None:
        containers.succeeds("make", "docker-down")

    def test_a_port_that_is_taken(self, containers: Containers) -> None:
        with socket.socket() as taken:
            taken.bind((LOOPBACK, containers.settings.server.port))
            taken.listen()
            done = containers.run("make", "docker-up")
        assert done.returncode != 0
        assert f"port {containers.settings.server.port} is taken" in done.stdout
        assert "RECSYS_SERVER__PORT" in done.stdout
        containers.succeeds("make", "docker-down")

    def test_compose_alone_starts_it(self, containers: Containers) -> None:
        """The first command of the compose file's head, without our script; only the server is published."""
        containers.compose("up", "--detach")
        containers.until_ready()
        for service in PROGRAMS:
            published = containers.inspect(service.name)["NetworkSettings"]["Ports"]
            bound = {port for port, hosts in published.items() if hosts}
            assert bound == ({"5000/tcp"} if service.name == "server" else set()), (
                service.name
            )
        containers.succeeds("make", "docker-down")

    def test_services_are_published_for_somebody_who_looks_inside(
        self, containers: Containers
    ) -> None:
        containers.succeeds("make", "docker-up", ports="all")
        health = requests.get(
            f"{containers.settings.elasticsearch.urls[0]}/_cluster/health", timeout=30
        )
        assert health.json()["cluster_name"] == "recsys"
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=containers.settings.redis.port).ping()
        containers.succeeds("make", "docker-down")

    def test_steps_alone_start_what_they_need(self, containers: Containers) -> None:
        """Compose without our script: the second command of the compose file's head."""
        containers.compose(
            "--profile", "steps", "run", "--rm", "--no-TTY", "steps", "make", "releases"
        )
        containers.until_ready()

    def test_two_redis_on_one_folder_are_refused(self, containers: Containers) -> None:
        """The stack runs, by the test before; on other ports both would write to the same files."""
        second = containers.run(
            "docker",
            "compose",
            "run",
            "--rm",
            "--no-deps",
            "--no-TTY",
            "redis",
            seconds=60,
        )
        assert second.returncode == 1, second.stdout
        assert (
            "another Redis has its data in this folder: end that first."
            in second.stdout
        )
        local = containers.run("make", "up")
        assert local.returncode != 0
        assert (
            f"containers run on {containers.settings.exchange_dir}: end them first (make docker-down)"
            in local.stdout
        )
