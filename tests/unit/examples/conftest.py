"""The package of examples, installed for the tests of this folder: its entry points are on the path."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import plugins
from data_exchange_center.features import DAY_S
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from online.stack.images import entry_points
from tests.unit.offline.synthetic import made_up_movielens, walk

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    site = tmp_path_factory.mktemp("site")
    shutil.copy(EXAMPLES / "pyproject.toml", site)
    entry_points.main(site)
    (site / "recsys_pipeline.dist-info").rename(site / "recsys_examples.dist-info")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        plugins.find.cache_clear()
        yield
    plugins.find.cache_clear()


def walked_with(recipe: Recipe, folder: Path) -> Settings:
    """Where the seven steps have run, over events of half a year."""
    random, ratings = np.random.default_rng(0), made_up_movielens(folder / "ml") / "ratings.dat"
    lines = (line.rsplit("::", 1)[0] for line in ratings.read_text().splitlines())
    ratings.write_text("".join(f"{line}::{random.integers(10_100 * DAY_S, 10_280 * DAY_S)}\n" for line in lines))
    return walk(Settings(data=ratings.parent, exchange_dir=folder / "exchange", recipe_name=recipe.name))
