from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from extras import replay
from extras.replay import Holdout
from offline.readers import read_with_holdout
from tests.synthetic_release import write_artifacts


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up release of each recipe, in a folder of its name."""
    folder = tmp_path_factory.mktemp("evaluation")
    for recipe in ("source", "default"):
        write_artifacts(folder / recipe, recipe=recipe, users=24)
    return folder


@pytest.fixture(params=["source", "default"])
def released(request: pytest.FixtureRequest, exchange: Path) -> Settings:
    """Settings of one of the two releases."""
    return settings_of(request.param, exchange)


def settings_of(recipe: str, exchange: Path) -> Settings:
    return Settings(recipe_name=recipe, exchange_dir=exchange / recipe)


def holdout_of(settings: Settings) -> Holdout:
    inputs = read_with_holdout(settings)
    return replay.hold_out(inputs.data, inputs.dataset.holdout)
