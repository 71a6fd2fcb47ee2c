"""Services that run for tests: started on ports of their own and taken down at the end, or those that run already."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from data_exchange_center.settings import Settings, load_settings
from stack import commands
from stack.commands import SERVICES
from stack.service import Service


@contextmanager
def own_stack(
    settings: Settings, services: Sequence[Service] = SERVICES
) -> Iterator[Settings]:
    """The settings, while these services run."""
    try:
        commands.up(settings, services)
        yield settings
    finally:
        commands.down(settings, None)


@contextmanager
def own_or_running_stack(own: Callable[[], Settings]) -> Iterator[Settings]:
    """Settings of a running stack: of one's own, with the settings that ``own`` makes.

    RECSYS_TEST_STACK=running: the stack that the RECSYS_* variables describe is used instead, and left running.
    """
    if os.environ.get("RECSYS_TEST_STACK") == "running":
        yield load_settings()
        return
    with own_stack(own()) as settings:
        yield settings


# A plain client of a stack's Redis, for what tests read and write behind the product's back.


def redis_of(settings: Settings, **more: Any) -> redis.Redis:
    """Return redis-py's client; ``more``: of its arguments."""
    socket = settings.redis.socket
    place = (
        {"unix_socket_path": str(socket)}
        if socket
        else {"host": settings.redis.host, "port": settings.redis.port}
    )
    return redis.Redis(**place, password=settings.redis.secret, **more)  # type: ignore[arg-type]
