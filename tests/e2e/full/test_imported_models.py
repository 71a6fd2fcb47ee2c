"""A model of each kind but encoders, of two libraries; the others: test_more_imported_models.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.imported import exported_events, imported
from tests.e2e.pipeline import Pipeline

MODELS = [("implicit", "als"), ("implicit", "cosine"), ("rectools", "svd")]


@pytest.fixture(scope="module")
def events(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_events(pipeline, tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(("library", "model"), MODELS)
def test_an_imported_model_has_the_librarys_lists(
    pipeline: Pipeline, events: Path, library: str, model: str
) -> None:
    imported(pipeline, events, library, model)
