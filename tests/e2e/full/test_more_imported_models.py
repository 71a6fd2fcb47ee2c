"""The other models of the exporters, one of each kind served: `make test-full` runs this, the gate does not."""

from pathlib import Path

import pytest

from tests.e2e.full.test_imported_models import check_served, exported_events, imported
from tests.e2e.pipeline import Pipeline


@pytest.fixture(scope="module")
def events(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_events(pipeline, tmp_path_factory.mktemp("models"))


def test_an_imported_model_has_the_librarys_lists(
    pipeline: Pipeline, events: Path
) -> None:
    imported(pipeline, events, "implicit", "bpr")


@pytest.mark.parametrize("model", ["sasrec", "esasrec"])
def test_an_imported_encoder_has_the_librarys_lists(
    pipeline: Pipeline, events: Path, model: str
) -> None:
    small = ("--epochs", "1", "--dims", "32", "--history", "50")
    imported(pipeline, events, "rectools", model, *small, exporter="rectools_sequences")


def test_the_server_answers_with_the_librarys_lists(
    pipeline: Pipeline, events: Path
) -> None:
    check_served(pipeline, *imported(pipeline, events, "implicit", "als"))
