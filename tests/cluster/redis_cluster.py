"""Six Redis servers that a test has for itself, as the stack starts them where the settings say so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis
from pydantic import SecretStr

from data_exchange_center.settings import REDIS_SERVERS, Settings
from stack.redis import REDIS
from stack.supervision import members
from tests.free_ports import free_block, settings_on_free_ports
from tests.own_stack import own_stack


def clustered(settings: Settings, timeout_s: float = 5.0) -> Settings:
    """These settings, with Redis as a cluster on ports of its own."""
    changed = {
        "cluster": True,
        "socket_dir": None,
        "port": free_block(2 * REDIS_SERVERS),
        "timeout_s": timeout_s,
    }
    return settings.model_copy(
        update={"redis": settings.redis.model_copy(update=changed)}
    )


@contextmanager
def own_cluster(exchange_dir: Path) -> Iterator[Settings]:
    """Settings of it, with a password; it is taken down at the end."""
    settings = clustered(settings_on_free_ports(exchange_dir))
    secret = settings.redis.model_copy(update={"password": SecretStr("p@ss%w0rd$1")})
    settings = settings.model_copy(update={"redis": secret})
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
