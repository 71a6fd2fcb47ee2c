"""The READMEs tell the truth: their figures, commands and files are those of the repository."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
READMES = ("README.md", "README.zh-CN.md")


@pytest.fixture(params=READMES)
def readme(request: pytest.FixtureRequest) -> str:
    return (ROOT / request.param).read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_files_that_commands_wrote() -> None:
    done = subprocess.run([sys.executable, "pic/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_make_command_is_a_target(readme: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z0-9-]+)`", readme)) | set(
        re.findall(r"^make ([a-z0-9-]+)", readme, re.MULTILINE)
    )
    assert {"demo", "test", "down"} <= named
    assert named <= targets


def test_every_link_and_picture_is_there(readme: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme) if not link.startswith("http")]
    assert len(links) >= 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_step_of_the_road_has_its_command(readme: str) -> None:
    steps = [path.name for path in ROOT.glob("*/*/s[0-9]_*.py")]
    assert len(steps) == 14
    assert [name for name in steps if name not in readme] == []


def test_both_languages_show_the_same_commands_and_figures() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in READMES]
    blocks = [re.findall(r"<!-- figures: (\w+) -->", text) for text in texts]
    assert blocks[0] == blocks[1]
    commands = [re.findall(r"^(?:make|cd|curl|python) [^#\n]*", text, re.MULTILINE) for text in texts]
    assert [c.strip() for c in commands[0]] == [c.strip() for c in commands[1]]


def test_rating_prediction_shows_every_width_and_test_scores_where_they_were_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "pic")  # as python pic/readme.py has it
    scores = {"auc": 0.81234, "gauc": 0.7, "user_auc": 0.69}
    figure = {
        "command": "make ratings",
        "machine": {"cpu": "a CPU", "cores": 2, "memory_gb": 8},
        "dataset": "ml-1m",
        "59": {"validation": scores, "test": {**scores, "auc": 0.82}},
        "72": {"validation": scores, "test": {**scores, "auc": 0.84}},
        "parts": {
            "neighbours": {"columns": 70, "validation": scores},
            "factors": {"columns": 61, "validation": scores},
        },
    }
    rows = runpy.run_path(str(ROOT / "pic" / "readme.py"))["ratings"](figure, lambda text: text).splitlines()
    assert rows[2:6] == [
        "| 59 | the source's | 0.8123 | 0.8200 | 0.7000 |",
        "| 61 | with the factors | 0.8123 | - | - |",
        "| 70 | with the neighbours | 0.8123 | - | - |",
        "| 72 | with both | 0.8123 | 0.8400 | 0.7000 |",
    ]
    assert rows[-1] == "Measured by `make ratings` on a CPU, 2 cores, 8 GB; data: ml-1m."
