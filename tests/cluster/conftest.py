"""The stack with Redis and Elasticsearch as clusters, on ports of its own; more processes of its services; HAProxy."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
from pydantic import SecretStr

from data_exchange_center.settings import ELASTICSEARCH_NODES, REDIS_SERVERS, Settings
from offline_to_online.stores.base import patient
from stack.preflight import is_taken
from stack.redis import REDIS
from stack.service import LOOPBACK, ROOT, NotReadyError, Service
from stack.supervision import members
from tests.free_ports import change, free_block, free_ports, settings_on_free_ports
from tests.needs import program
from tests.own_stack import own_or_running_stack, own_stack
from tests.waiting import until

PATIENCE_S = 120.0  # on a busy machine


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with own_or_running_stack(
        lambda: all_clustered(tmp_path_factory.mktemp("exchange"))
    ) as settings:
        yield settings


def all_clustered(exchange_dir: Path) -> Settings:
    """Patient settings, as the machine may be busy: three shards, a replica each.

    Triton listens on a port, as one of several does.
    """
    settings = patient(clustered(settings_on_free_ports(exchange_dir)), 2.5)
    first = free_block(2 * ELASTICSEARCH_NODES)
    settings = change(
        settings,
        "elasticsearch",
        cluster=True,
        port=first,
        transport_port=first + ELASTICSEARCH_NODES,
        shards=3,
        replicas=1,
    )
    nodes = f"{LOOPBACK}:{settings.triton.http_port}"
    return change(settings, "triton", socket_dir=None, nodes=nodes)


# One more process of a service than the stack starts, and HAProxy before some: killed and started by a test.


class ServiceProcess:
    """A process of `service` with these settings, whose folder or database has all of it. It logs to a file."""

    def __init__(self, service: Service, settings: Settings, log: Path) -> None:
        self.settings = settings
        self._service, self._log = service, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it is ready."""
        program = self._service.program(self.settings)
        environment = {**os.environ, **program.environment}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                program.command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        process = self._process

        def version() -> str:
            assert process.poll() is None, self._log.read_text()
            return self._service.version(self.settings)

        until(version, PATIENCE_S, 0.1, despite=(NotReadyError,))

    def kill(self) -> None:
        """With its children, and no chance to say so."""
        assert self._process is not None
        master = psutil.Process(self._process.pid)
        master.suspend()  # so that it starts no other child meanwhile
        for process in (*master.children(recursive=True), master):
            process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """As a person does: it ends what it is at. Nothing where it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)


@contextmanager
def balanced(addresses: tuple[str, str], folder: Path) -> Iterator[str]:
    """Address of HAProxy in front of two servers; it logs to a file in the folder. Skips where it is missing."""
    haproxy = program("haproxy")
    (port,) = free_ports(1)
    variables = {
        "BIND": f"{LOOPBACK}:{port}",
        "SERVER_1": addresses[0],
        "SERVER_2": addresses[1],
    }
    command = [haproxy, "-db", "-f", str(ROOT / "past_one_machine" / "haproxy.cfg")]
    log = folder / "haproxy.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: is_taken(port) or process.poll() is not None, said=log.read_text)
        assert process.poll() is None, log.read_text()
        yield f"http://{LOOPBACK}:{port}"
    finally:
        process.terminate()
        process.wait(30)


# Six Redis servers that a test has for itself, as the stack starts them where the settings say so.


def clustered(settings: Settings, timeout_s: float = 5.0) -> Settings:
    """These settings, with Redis as a cluster on ports of its own."""
    return change(
        settings,
        "redis",
        cluster=True,
        socket_dir=None,
        port=free_block(2 * REDIS_SERVERS),
        timeout_s=timeout_s,
    )


@contextmanager
def own_cluster(exchange_dir: Path) -> Iterator[Settings]:
    """Settings of it, with a password; it is taken down at the end."""
    settings = clustered(settings_on_free_ports(exchange_dir))
    settings = change(settings, "redis", password=SecretStr("p@ss%w0rd$1"))
    with own_stack(settings, [REDIS]):
        yield settings


def server_process(settings: Settings, port: int) -> psutil.Process:
    """The server that listens on a port."""
    for process in members(settings):
        command = process.cmdline()
        if "--cluster-enabled" in command and command[
            command.index("--port") + 1
        ] == str(port):
            return process
    raise AssertionError(f"no server listens on {port}")


def password_of(settings: Settings) -> str | None:
    return settings.redis.secret


def has_taken_over(settings: Settings, replica: int, port: int) -> bool:
    """Whether the master on ``port`` is gone, and its replica in its place."""
    found = masters(settings)
    return replica in found and port not in found


def masters(settings: Settings) -> dict[int, set[int]]:
    """Port of each master that answers -> its replicas' ports."""
    for host, port in settings.redis.addresses:
        try:
            with redis.Redis(
                host, port, password=password_of(settings), socket_timeout=2
            ) as server:
                nodes = server.execute_command("CLUSTER NODES")
        except redis.RedisError:
            continue
        alive = {
            place: each
            for place, each in nodes.items()
            if each["connected"]
            and not {"fail", "fail?", "noaddr"} & set(each["flags"].split(","))
        }
        port_of = {
            each["node_id"]: int(place.rpartition(":")[2])
            for place, each in alive.items()
        }
        found: dict[int, set[int]] = {
            port_of[each["node_id"]]: set() for each in alive.values() if each["slots"]
        }
        for each in alive.values():
            if each["master_id"] in port_of:
                found.setdefault(port_of[each["master_id"]], set()).add(
                    port_of[each["node_id"]]
                )
        return found
    raise AssertionError("no server of the cluster answers")
