from __future__ import annotations

from typing import Any

import pytest

from offline.evaluation import served
from offline.evaluation.evaluate import evaluate
from tests.synthetic_release import write_artifacts
from tests.unit.offline.evaluation.conftest import holdout_of, settings_of


@pytest.fixture
def pic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules of pic/ can be imported."""


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Recipe -> the report of a server that answers like exact search."""
    folder = tmp_path_factory.mktemp("tables")
    found = {}
    for recipe in ("source", "default"):
        write_artifacts(folder / recipe, recipe=recipe, users=24)
        settings = settings_of(recipe, folder)
        exact = served.answers(settings, holdout_of(settings))
        found[recipe] = evaluate(
            settings, "make evaluate", ask=lambda _, e=exact: e, source=settings_of("source", folder)
        )
    return found
