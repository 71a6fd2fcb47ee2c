"""Run a service as several nodes on this machine, a cluster: each is restarted when it ends, all are stopped together.

Redis Cluster: six servers, three masters and a replica each, on ports one after the other. A master does not wait for
replication; a client that needs it waits itself (WAIT, extras/events/log.py). A master that has lost its replica, or
contact with the others, serves for a node's timeout at most before it refuses requests. Elasticsearch: three nodes,
each of which may be master and holds data.

Run     python -m past_one_machine.clusters redis, as the supervisor does: `make up` with RECSYS_REDIS__CLUSTER=true
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import redis
from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from data_exchange_center.settings import (
    ELASTICSEARCH_NODES,
    REDIS_SERVERS,
    Settings,
    load_settings,
)
from stack.elasticsearch.service import node_command
from stack.redis import server_command
from stack.service import LOOPBACK, NotReadyError

log = logging.getLogger(__name__)

# before an ended process is restarted, so that the others notice
RESTART_S: Final = 10.0
_POLL_S: Final = 0.2
_END_S: Final = 15.0
MASTERS: Final = REDIS_SERVERS // 2
NODE_TIMEOUT_MS: Final = 2_000  # a server that is silent for so long is taken for dead
_SLOTS: Final = 16_384
_FORMED_WITHIN_S: Final = 60.0
_REDIS_FLAGS: Final = (
    *("--cluster-enabled", "yes"),
    *("--cluster-config-file", "nodes.conf"),
    *("--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
    *(
        "--cluster-require-full-coverage",
        "no",
    ),  # users whose master is gone wait for it, the others do not
    *(
        "--cluster-replica-validity-factor",
        "0",
    ),  # any replica is better than none: what it lacks was not acknowledged
    *("--cluster-allow-replica-migration", "no"),
)


def keep_running(
    commands: Mapping[str, Sequence[str]],
    once_started: Callable[[], None] = lambda: None,
) -> None:
    """Run commands, by name, until SIGTERM or SIGINT; ``once_started`` is called once, in a thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running = {name: subprocess.Popen(command) for name, command in commands.items()}
    ended: dict[str, float] = {}
    threading.Thread(target=once_started, name="once-started", daemon=True).start()
    while not stop.wait(_POLL_S):
        now = time.monotonic()
        for name, process in running.items():
            if process.poll() is None:
                continue
            if name not in ended:
                log.warning("%s ended with %s", name, process.returncode)
            if now - ended.setdefault(name, now) >= RESTART_S:
                del ended[name]
                running[name] = subprocess.Popen(commands[name])
    for process in running.values():
        process.terminate()
    until = time.monotonic() + _END_S
    for process in running.values():
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


# Elasticsearch.


def elasticsearch_nodes(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Commands by name; each node knows the ports of all."""
    place, home = settings.elasticsearch, settings.service_dir("elasticsearch")
    names = [f"node-{n + 1}" for n in range(ELASTICSEARCH_NODES)]
    hosts = [
        f"{LOOPBACK}:{place.transport_port + n}" for n in range(ELASTICSEARCH_NODES)
    ]
    cluster = (
        f"discovery.seed_hosts={','.join(hosts)}",
        f"cluster.initial_master_nodes={','.join(names)}",
    )
    return {
        name: node_command(
            settings,
            home / name,
            place.port + n,
            place.transport_port + n,
            f"node.name={name}",
            *cluster,
        )
        for n, name in enumerate(names)
    }


# Redis.


def redis_ports(settings: Settings) -> list[int]:
    """Clients' ports; the servers speak to each other on the six ports after these."""
    return [settings.redis.port + n for n in range(REDIS_SERVERS)]


def redis_servers(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Commands by name."""
    found = {}
    for port in redis_ports(settings):
        folder = settings.service_dir("redis") / f"server-{port}"
        folder.mkdir(parents=True, exist_ok=True)
        bus = "--cluster-port", str(port + REDIS_SERVERS)
        found[f"Redis on port {port}"] = (
            *server_command(settings, port, folder),
            *_REDIS_FLAGS,
            *bus,
        )
    return found


def form(settings: Settings) -> None:
    """Join the six servers into one cluster, unless they are one; resumes an interrupted attempt."""
    again = Retrying(
        retry=retry_if_exception_type((NotReadyError, redis.RedisError)),
        stop=stop_after_delay(_FORMED_WITHIN_S),
        wait=wait_fixed(0.2),
    )
    try:
        again(_form, settings)
    except RetryError as error:
        log.error("the cluster is not formed: %s", error.last_attempt.exception())


def _form(settings: Settings) -> None:
    ports = redis_ports(settings)
    with _client(settings, ports[0]) as server:
        if len(_nodes(server)) < REDIS_SERVERS:
            for port in ports[1:]:
                _command(server, "CLUSTER MEET", LOOPBACK, port, port + REDIS_SERVERS)
            raise NotReadyError("they do not know each other yet")
    for turn, port in enumerate(ports):
        with _client(settings, port) as server:
            if len(_nodes(server)) < REDIS_SERVERS:
                raise NotReadyError(f"{port} does not know all others yet")
            is_master, slots = _nodes(server)[_command(server, "CLUSTER MYID").decode()]
            if not is_master or slots:
                continue
            if turn < MASTERS:
                first, end = (_SLOTS * (turn + n) // MASTERS for n in (0, 1))
                _command(server, "CLUSTER ADDSLOTSRANGE", first, end - 1)
            else:
                with _client(settings, ports[turn - MASTERS]) as master:
                    _command(
                        server,
                        "CLUSTER REPLICATE",
                        _command(master, "CLUSTER MYID").decode(),
                    )


def _client(settings: Settings, port: int) -> redis.Redis:
    """A client of one of the servers."""
    return redis.Redis(
        LOOPBACK,
        port,
        password=settings.redis.secret,
        socket_timeout=2,
        socket_connect_timeout=2,
    )


def _nodes(server: redis.Redis) -> dict[str, tuple[bool, bool]]:
    """By their ids: whether a node is a master, and whether it has slots."""
    found = _command(server, "CLUSTER NODES").values()
    return {
        each["node_id"]: ("master" in each["flags"], bool(each["slots"]))
        for each in found
    }


def _command(server: redis.Redis, *command: object) -> Any:
    return server.execute_command(*command)  # type: ignore[no-untyped-call]


def main(service: str) -> None:
    settings = load_settings()
    logging.basicConfig(level=logging.INFO)
    if service == "redis":
        keep_running(redis_servers(settings), lambda: form(settings))
    else:
        keep_running(elasticsearch_nodes(settings))


if __name__ == "__main__":
    main(sys.argv[1])
