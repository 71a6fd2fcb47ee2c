"""Artifacts of both recipes, the offline truth of each, and an online side made of fakes."""

from pathlib import Path

import pytest

from data_exchange_center.recipes import RECIPES
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from offline_to_online.onnx_export import export_onnx
from offline_to_online.parity import OfflineTruth, offline_truth
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
    """The source's recipe: a stored vector, genres, statistics by genre."""
    return OnlineSide(folders["source"], "source")


@pytest.fixture
def history_side(folders: dict[str, Path]) -> OnlineSide:
    """The default recipe: two channels made of the history, and a ranker that reads it."""
    return OnlineSide(folders["default"], "default")


@pytest.fixture(scope="session", params=RECIPES)
def truth(request: pytest.FixtureRequest, folders: dict[str, Path]) -> OfflineTruth:
    """The offline side of either recipe: a ranker is a ranker."""
    folder = folders[request.param]
    return offline_truth(
        folder,
        release_of_artifacts(Settings(exchange_dir=folder, recipe_name=request.param)),
    )


@pytest.fixture(scope="session")
def exported(truth: OfflineTruth) -> bytes:
    return export_onnx(truth.ranker.model, truth.spec.sizes, "aaaaaaaaaaaa")
