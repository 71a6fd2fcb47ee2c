"""The tutorial's notebooks as they are committed: run, readable, without a trace of a machine."""

from __future__ import annotations

import ast
import importlib
import re

import nbformat
import pytest

from docs import notebooks


@pytest.fixture(params=notebooks.names())
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(notebooks.FOLDER / f"{request.param}.ipynb", as_version=4)


def code_of(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def test_a_notebook_says_its_minutes_and_ends_in_an_exercise(
    notebook: nbformat.NotebookNode,
) -> None:
    assert re.search(r"^\*\d+ minutes\.", notebook.cells[0].source, re.MULTILINE)
    assert "## Exercise" in notebook.cells[-1].source


def test_cells_were_run_in_order(notebook: nbformat.NotebookNode) -> None:
    counts = [
        cell.execution_count for cell in notebook.cells if cell.cell_type == "code"
    ]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_name_no_machine(notebook: nbformat.NotebookNode) -> None:
    outputs = [
        str(output) for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    assert [
        each
        for each in outputs
        if re.search(r"/(tmp|home|root|work)/|127\.0\.0\.1:\d|Traceback", each)
    ] == []


def test_imported_names_exist(notebook: nbformat.NotebookNode) -> None:
    """A renamed function fails here, long before the notebook is run."""
    for node in ast.walk(ast.parse(code_of(notebook))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        found = importlib.import_module(node.module)
        for alias in node.names:
            full_name = f"{node.module}.{alias.name}"
            assert hasattr(found, alias.name) or importlib.import_module(full_name)
