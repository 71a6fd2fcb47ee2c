"""A Redis that a test has for itself: it may be emptied, killed and started again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_exchange_center.settings import Settings
from online.stack.redis.service import REDIS
from tests.free_ports import settings_on_free_ports
from tests.own_stack import own_stack


@contextmanager
def own_redis(exchange_dir: Path) -> Iterator[Settings]:
    """Settings of it, patient ones, as the machine may be busy. It is taken down at the end."""
    settings = settings_on_free_ports(exchange_dir)
    settings = settings.model_copy(update={"redis": settings.redis.model_copy(update={"timeout_s": 30.0})})
    with own_stack(settings, [REDIS]):
        yield settings
