"""Settings for a stack that shares nothing with one that may be running: other ports, a folder of its own."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from data_exchange_center.settings import Settings
from stack.commands import PROGRAMS
from stack.preflight import is_taken
from stack.service import LOOPBACK

# group and name of each setting that moves a port
PORTS = [(service.name, port) for service in PROGRAMS for port in service.ports]


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; all are held until the last is found, so they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def shifted_ports(shift: int) -> dict[str, str]:
    """The variables that move every port of the stack by ``shift`` from its default."""
    default = dict(Settings())
    return {
        f"RECSYS_{group}__{port}".upper(): str(getattr(default[group], port) + shift)
        for group, port in PORTS
    }


def settings_on_free_ports(exchange_dir: Path) -> Settings:
    """Settings with Redis on its socket; without a warm-up of Elasticsearch, of no use for a test's few requests."""
    groups: dict[str, dict[str, float]] = {"server": {"warm_up_s": 0.0}}
    for (group, name), number in zip(PORTS, free_ports(len(PORTS)), strict=True):
        groups.setdefault(group, {})[name] = number
    settings = Settings(exchange_dir=exchange_dir, **groups)
    socket_dir = Settings(exchange_dir=exchange_dir).redis.socket_dir
    return change(settings, "redis", socket_dir=socket_dir)


def change(settings: Settings, group: str, **values: object) -> Settings:
    """The settings with other values in one group."""
    own = getattr(settings, group).model_copy(update=values)
    return settings.model_copy(update={group: own})


def free_block(count: int) -> int:
    """The first of some free ports one after the other, below those that the kernel gives to clients."""
    for _ in range(200):
        first = random.randrange(24_000, 32_768 - count)
        if not any(is_taken(first + n) for n in range(count)):
            return first
    raise AssertionError(f"no {count} free ports in a row")
