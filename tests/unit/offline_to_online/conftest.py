"""Two whole online sides made of fakes, one a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.recipes import RECIPES
from tests.synthetic_release import write_artifacts
from tests.unit.offline_to_online.online_side import OnlineSide


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Artifacts of each recipe, for tests that only read them."""
    made = {recipe: tmp_path_factory.mktemp(recipe) for recipe in RECIPES}
    for recipe, folder in made.items():
        write_artifacts(folder, recipe=recipe)
    return made


@pytest.fixture
def side(folders: dict[str, Path]) -> OnlineSide:
    """The source's recipe: a stored vector, genres beside it, statistics by genre."""
    return OnlineSide(folders["source"], "source")


@pytest.fixture
def history_side(folders: dict[str, Path]) -> OnlineSide:
    """The default recipe: two channels made of the history, and a ranker that reads it."""
    return OnlineSide(folders["default"], "default")
