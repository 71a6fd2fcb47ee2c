"""The tutorial's notebooks run from top to bottom on the demo's stack."""

import pytest

from docs import notebooks
from tests.e2e.pipeline import Pipeline


@pytest.mark.parametrize("name", notebooks.names())
def test_a_notebook_of_the_tutorial_runs(pipeline: Pipeline, name: str) -> None:
    done = notebooks.execute(name, pipeline.activated())
    assert any(cell.get("outputs") for cell in done.cells)
