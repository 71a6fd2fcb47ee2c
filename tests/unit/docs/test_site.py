"""The documentation builds strictly, without a network, and has what a reader looks for."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import nbformat
import pytest
from pydantic import BaseModel, Field

from data_exchange_center import artifacts
from docs import notebooks
from docs import reference_pages as reference

# The documentation builds strictly, without a network, and has what a reader looks for.

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # a proxy that is not there: whatever looks for the network fails
    environment = os.environ | dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    )
    options = (
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        "-c",
        "docs",
        "-d",
        str(folder / "doctrees"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ".", str(folder / "html")],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return folder / "html"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("index.html", "docs/index.html"),
        ("docs/index.html", "Getting started"),
        ("online/README.html", "One request, step by step"),
        ("docs/reference/settings.html", "RECSYS_SERVER__BUDGET_MS"),
        ("docs/reference/settings.html", "RECSYS_TRACING__ENDPOINT"),
        ("docs/reference/recipes.html", "fusion_weight"),
        ("docs/reference/http-api.html", "POST /ml/rec"),
        ("docs/reference/artifacts.html", "offline/ratings.parquet"),
        ("docs/reference/steps.html", "offline/recall/s2_vector_recall.py"),
        ("docs/results/quality.html", "Tuned baselines"),
        ("docs/tutorial/2_one_request.html", "Elasticsearch: candidates"),
        ("README.zh-CN.html", "两条命令"),
    ],
)
def test_a_page_has_what_it_is_for(site: Path, page: str, text: str) -> None:
    assert text in (site / page).read_text(encoding="utf-8")


def test_every_picture_of_a_page_is_there(site: Path) -> None:
    found = {
        page.parent / source
        for page in site.rglob("*.html")
        for source in re.findall(
            r'<img\b[^>]*\bsrc="([^":?#]+)"', page.read_text(encoding="utf-8")
        )
        if not source.endswith("badge.svg")  # of the code's host
    }
    assert found
    assert [path for path in found if not path.is_file()] == []


def test_pages_name_no_folder_of_the_machine(site: Path) -> None:
    found = [
        path.name
        for path in site.rglob("*.html")
        if str(ROOT) in path.read_text(encoding="utf-8")
    ]
    assert found == []


# The tutorial's notebooks as they are committed: run in order, without a trace of a machine.


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


# Reference pages: comments of the source, settings of every package, and the API are all in them.

SOURCE = '''
class Some:
    """A class."""

    first: int = 1  # behind
    # above, in
    # two lines
    second: int = 2
    third: int = 3

    # about nothing

TABLE = dict(  # behind an opening bracket
    a=1,
)
'''


def test_comments_belong_to_the_name_they_stand_at() -> None:
    assert reference.comments(SOURCE) == {
        "first": "behind",
        "second": "above, in two lines",
        "TABLE": "behind an opening bracket",
    }


def test_a_setting_has_variable_type_default_and_meaning() -> None:
    class Sample(BaseModel):
        budget_ms: Annotated[int, Field(ge=20, le=100)] = 50  # of a request

    assert list(reference._fields(Sample, ["budget_ms"], "RECSYS_")) == [
        ("`RECSYS_BUDGET_MS`", "integer, ≥ 20, ≤ 100", "`50`", "of a request")
    ]


def test_settings_of_extensions_are_found() -> None:
    prefixes = {
        str(kind.model_config["env_prefix"]) for kind in reference.extension_settings()
    }
    assert {
        "RECSYS_PANDAS__",
        "RECSYS_TRACING__",
        "RECSYS_MONITORING__",
        "RECSYS_SPARK__",
    } <= prefixes


def test_every_artifact_has_its_row() -> None:
    page = reference.artifacts_page()
    assert [
        each.path for each in artifacts.ARTIFACTS if f"`{each.path}`" not in page
    ] == []
