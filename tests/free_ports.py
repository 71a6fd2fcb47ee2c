"""Settings for a stack that shares nothing with one that may be running: other ports, a folder of its own."""

from __future__ import annotations

import random
from pathlib import Path

from data_exchange_center.settings import Settings
from online.stack.commands import PROGRAMS, on_free_ports
from online.stack.commands import free_ports as free_ports
from online.stack.preflight import is_taken


def shifted_ports(shift: int) -> dict[str, str]:
    """The variables that move every port of the stack by ``shift`` from its default."""
    return {port.variable: str(port.container + shift) for service in PROGRAMS for port in service.ports}


def settings_on_free_ports(exchange_dir: Path) -> Settings:
    """Without a warm-up of Elasticsearch, which a test's few requests have no use for."""
    settings = on_free_ports(Settings(exchange_dir=exchange_dir))
    return settings.model_copy(update={"server": settings.server.model_copy(update={"warm_up_s": 0.0})})


def free_block(count: int) -> int:
    """The first of some free ports one after the other, below those that the kernel gives to clients."""
    for _ in range(200):
        first = random.randrange(24_000, 32_768 - count)
        if not any(is_taken(first + n) for n in range(count)):
            return first
    raise AssertionError(f"no {count} free ports in a row")
