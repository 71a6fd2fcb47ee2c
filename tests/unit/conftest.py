"""Fixtures of every unit test."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# prometheus_client looks for a folder of shared numbers when it is imported, and Feast names one when it is: imported
# before Feast, and without an inherited folder, it lets each application count alone.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
import prometheus_client  # noqa: F401

from data_exchange_center.settings import Settings
from tests.free_ports import settings_on_free_ports


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    """What a step that a test runs sets for its process."""
    log = logging.getLogger("online.clients")
    before = log.level
    yield
    log.setLevel(before)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a stack that does not run."""
    return settings_on_free_ports(tmp_path / "exchange")
