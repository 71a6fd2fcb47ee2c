"""The services of the stack, in the order in which they are started, and free ports for a second stack."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Final

from data_exchange_center.settings import Settings
from online.stack.elasticsearch.service import ELASTICSEARCH
from online.stack.feast.service import FEAST
from online.stack.redis.service import REDIS
from online.stack.server import SERVER
from online.stack.service import LOOPBACK, Service, StackError
from online.stack.triton.service import TRITON

SERVICES: Final = (REDIS, ELASTICSEARCH, FEAST, TRITON)
PROGRAMS: Final = (*SERVICES, SERVER)  # what runs under the supervisor; the server is started by `serve`


def by_name(name: str) -> Service:
    """Raises StackError for a name that no service has."""
    for service in PROGRAMS:
        if service.name == name:
            return service
    raise StackError(f"no service is called {name!r}; there are: {', '.join(s.name for s in PROGRAMS)}")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; all are held until the last is found, so they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def on_free_ports(settings: Settings) -> Settings:
    """These settings, with every port of the stack moved to one that is free."""
    ports = [port for service in PROGRAMS for port in service.ports]
    moved: dict[str, dict[str, int]] = {}
    for port, number in zip(ports, free_ports(len(ports)), strict=True):
        group, name = port.setting
        moved.setdefault(group, {})[name] = number
    return settings.model_copy(
        update={group: getattr(settings, group).model_copy(update=numbers) for group, numbers in moved.items()}
    )
