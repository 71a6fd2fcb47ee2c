"""Redis Cluster on this machine: six servers, three masters and a replica each, on ports one after the other.

A master that writes waits for nobody; who must know that a replica has it asks (extras/events/log.py). One that
has lost its replica, or sight of the others, goes on for a node's timeout at most before it refuses what it is asked.

Run     python -m past_one_machine.clusters.redis, as the supervisor does (`make up` with RECSYS_REDIS__CLUSTER=true)
"""

from __future__ import annotations

import logging
from typing import Any, Final

import redis
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center.settings import REDIS_SERVERS, Settings, load_settings
from online.stack.redis.service import client, server_command
from online.stack.service import LOOPBACK, NotReadyError
from past_one_machine.clusters.several import keep_running

log = logging.getLogger(__name__)

MASTERS: Final = REDIS_SERVERS // 2
NODE_TIMEOUT_MS: Final = 2_000  # a server that is silent for so long is taken for dead
_SLOTS: Final = 16_384
_FORMED_WITHIN_S: Final = 60.0
_FLAGS: Final = (
    *("--cluster-enabled", "yes"),
    *("--cluster-config-file", "nodes.conf"),
    *("--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
    *("--cluster-require-full-coverage", "no"),  # users whose master is gone wait for it, the others do not
    *("--cluster-replica-validity-factor", "0"),  # any replica is better than none: what it lacks was not acknowledged
    *("--cluster-allow-replica-migration", "no"),
)


def ports(settings: Settings) -> list[int]:
    """Where clients ask; the servers speak to each other on the six ports after these."""
    return [settings.redis.port + n for n in range(REDIS_SERVERS)]


def commands(settings: Settings) -> dict[str, tuple[str, ...]]:
    found = {}
    for port in ports(settings):
        folder = settings.service_dir("redis") / f"server-{port}"
        folder.mkdir(parents=True, exist_ok=True)
        bus = "--cluster-port", str(port + REDIS_SERVERS)
        found[f"Redis on port {port}"] = (*server_command(settings, port, folder), *_FLAGS, *bus)
    return found


def form(settings: Settings) -> None:
    """Make one cluster of the six, unless they are one; what an interruption has left is gone on with."""
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
    first, *others = ports(settings)
    with client(settings, first) as server:
        known = _nodes(server)
        if len(known) < REDIS_SERVERS:
            for port in others:
                _ask(server, "CLUSTER MEET", LOOPBACK, port, port + REDIS_SERVERS)
            raise NotReadyError("they do not know each other yet")
    for turn, port in enumerate(ports(settings)):
        with client(settings, port) as server:
            if len(_nodes(server)) < REDIS_SERVERS:
                raise NotReadyError(f"{port} does not know all others yet")
            own = _ask(server, "CLUSTER MYID").decode()
            is_master, slots = _nodes(server)[own]
            if turn < MASTERS:
                if is_master and not slots:
                    _ask(server, "CLUSTER ADDSLOTSRANGE", *slot_range(turn))
            elif is_master and not slots:
                with client(settings, ports(settings)[turn - MASTERS]) as master:
                    _ask(server, "CLUSTER REPLICATE", _ask(master, "CLUSTER MYID").decode())


def slot_range(turn: int) -> tuple[int, int]:
    """First and last slot of a master."""
    return _SLOTS * turn // MASTERS, _SLOTS * (turn + 1) // MASTERS - 1


def _nodes(server: redis.Redis) -> dict[str, tuple[bool, bool]]:
    """By their ids: whether a node is a master, and whether it has slots."""
    said: Any = server.execute_command("CLUSTER NODES")  # type: ignore[no-untyped-call]
    return {each["node_id"]: ("master" in each["flags"], bool(each["slots"])) for each in said.values()}


def _ask(server: redis.Redis, *command: object) -> Any:
    return server.execute_command(*command)  # type: ignore[no-untyped-call]


def main() -> None:
    settings = load_settings()
    logging.basicConfig(level=logging.INFO)
    keep_running(commands(settings), lambda: form(settings))


if __name__ == "__main__":
    main()
