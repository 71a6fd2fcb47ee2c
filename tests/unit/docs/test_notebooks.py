"""The tutorial's notebooks as they are committed: run in order, without a trace of a machine."""

from __future__ import annotations

import ast
import importlib
import re

import nbformat
import pytest

from docs import notebooks


@pytest.fixture(params=notebooks.names())
def cells(request: pytest.FixtureRequest) -> list[nbformat.NotebookNode]:
    path = notebooks.FOLDER / f"{request.param}.ipynb"
    all_cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in all_cells if cell.cell_type == "code"]


def test_cells_were_run_in_order(cells: list[nbformat.NotebookNode]) -> None:
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_name_no_machine(cells: list[nbformat.NotebookNode]) -> None:
    shown = str([cell.outputs for cell in cells])
    assert not re.search(r"/(tmp|home|root|work)/|127\.0\.0\.1:\d|Traceback", shown)


def test_imported_names_exist(cells: list[nbformat.NotebookNode]) -> None:
    """A renamed function fails here, long before the notebook is run."""
    for node in ast.walk(ast.parse("\n".join(cell.source for cell in cells))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(found, name.name) or importlib.import_module(
                    f"{node.module}.{name.name}"
                )
