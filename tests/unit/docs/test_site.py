"""The documentation builds strictly, without a network, and has what a reader looks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
