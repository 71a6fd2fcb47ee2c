"""Ports for a second stack next to one that may be running."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from data_exchange_center.settings import Settings
from online.stack.catalogue import PROGRAMS
from online.stack.service import LOOPBACK


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
    groups: dict[str, dict[str, int]] = {}
    for port, number in zip(ports, free_ports(len(ports)), strict=True):
        group, name = port.setting
        groups.setdefault(group, {})[name] = number
    changed = {group: getattr(settings, group).model_copy(update=update) for group, update in groups.items()}
    return settings.model_copy(update=changed)
