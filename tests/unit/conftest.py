"""For every unit test: no service is reached."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.no_services import services_refused

os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # prometheus_client looks when it is imported: each app counts alone


@pytest.fixture(autouse=True)
def _no_services(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with services_refused(monkeypatch) as reached:
        yield
    if reached:
        pytest.fail(reached[0])
