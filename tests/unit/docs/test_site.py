"""The documentation builds strictly, without a network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from docs import notebooks

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


def test_outputs_name_no_machine(cells: list[nbformat.NotebookNode]) -> None:
    shown = str([cell.outputs for cell in cells])
    assert not re.search(r"/(tmp|home|root|work)/|127\.0\.0\.1:\d|Traceback", shown)
