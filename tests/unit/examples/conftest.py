"""The package of examples, installed for the tests of this folder: its entry points are on the path."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_exchange_center import plugins
from online.stack.images import entry_points

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
