from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.road import ml_100k as written


@pytest.fixture(scope="session")
def ml_100k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MovieLens-100K in a folder."""
    return written(tmp_path_factory.mktemp("ml-100k") / "data")
