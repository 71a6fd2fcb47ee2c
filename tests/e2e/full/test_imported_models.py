"""Six models of four libraries on MovieLens-100K; one of each kind is served. More: test_more_imported_models.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.imported import check_served, exported_events, imported
from tests.e2e.pipeline import Pipeline


@pytest.fixture(scope="module")
def events(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_events(pipeline, tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(
    ("library", "model"), [("implicit", "bpr"), ("cornac", "mf"), ("rectools", "tfidf"), ("recbole", "itemknn")]
)
def test_an_imported_model_has_the_librarys_lists(pipeline: Pipeline, events: Path, library: str, model: str) -> None:
    imported(pipeline, events, library, model)


@pytest.mark.parametrize(("library", "model"), [("implicit", "als"), ("recbole", "ease")])
def test_the_server_answers_with_the_librarys_lists(pipeline: Pipeline, events: Path, library: str, model: str) -> None:
    check_served(pipeline, *imported(pipeline, events, library, model))
