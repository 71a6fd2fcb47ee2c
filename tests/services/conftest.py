"""The real Redis, Elasticsearch, Feast and Triton, for every test in this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from data_exchange_center.settings import Settings, load_settings
from online.stack import commands
from online.stack.catalogue import SERVICES
from tests.free_ports import settings_on_free_ports


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a running stack: on free ports, under a temporary exchange folder, taken down at the end.

    RECSYS_TEST_STACK=running: the stack that the RECSYS_* variables describe is used instead, and left running.
    """
    if os.environ.get("RECSYS_TEST_STACK") == "running":
        yield load_settings()
        return
    settings = settings_on_free_ports(tmp_path_factory.mktemp("exchange"))
    try:
        commands.up(settings, SERVICES)
        yield settings
    finally:
        commands.down(settings, None)
