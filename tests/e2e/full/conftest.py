"""`make demo` as it comes: with the data that RECSYS_DATA names, or what it finds itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.road import Road, demo


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    with demo(tmp_path_factory.mktemp("full") / "exchange", 9_000) as road:
        yield road
