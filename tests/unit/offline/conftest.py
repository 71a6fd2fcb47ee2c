from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.offline.synthetic import made_up_movielens


@pytest.fixture
def movielens(tmp_path: Path) -> Callable[..., Path]:
    """Makes a small MovieLens below the test's folder."""
    return lambda name="ml", **options: made_up_movielens(tmp_path / name, **options)
