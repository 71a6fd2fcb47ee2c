"""Services that run for tests: started on ports of their own and taken down at the end, or those that run already."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

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
