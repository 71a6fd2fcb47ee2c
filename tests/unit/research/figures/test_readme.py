"""The READMEs tell the truth: their figures, commands and files are those of the repository."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from data_exchange_center.recipes import RECIPES
from tests import readmes

ROOT = Path(__file__).parents[4]
PAIRS = list(zip(readmes.readmes(), readmes.readmes(readmes.CHINESE), strict=True))


def text_of(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


@pytest.fixture(params=[readme for pair in PAIRS for readme in pair])
def readme(request: pytest.FixtureRequest) -> str:
    return text_of(request.param)


def test_the_figures_are_those_of_the_files_that_commands_wrote() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "research.figures.readme", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_figures_that_are_not_measured_yet_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = runpy.run_module("research.figures.readme")
    readme["BLOCKS"]["soak"] = ("no_such.json", lambda figure, word: "")
    filled = readme["rendered"]("<!-- figures: soak -->\nold\n<!-- /figures -->", lambda text: text)
    assert filled.splitlines()[1] == "Not measured yet: no command has written `pic/figures/no_such.json`."


def tracked(pattern: str) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_every_readme_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(tracked("*README*.md")) == {readme for pair in PAIRS for readme in pair}
    filled = runpy.run_module("research.figures.readme")["readmes"]()
    assert {str(path.relative_to(ROOT)) for path in filled} == {readme for pair in PAIRS for readme in pair}


@pytest.mark.parametrize("name", [readmes.ENGLISH, readmes.CHINESE])
def test_the_first_page_is_short(name: str) -> None:
    assert len(text_of(name).splitlines()) <= 150


def test_every_make_command_is_a_target(readme: str) -> None:
    makefiles = "\n".join((ROOT / name).read_text() for name in tracked("*Makefile"))
    targets = set(re.findall(r"^([a-z0-9-]+):", makefiles, re.MULTILINE))
    named = re.findall(r"`(?:[A-Z_]+=\S+ )*make ([^`]+)`", readme) + re.findall(
        r"^make ([^#\n]+)", readme, re.MULTILINE
    )
    words = {word for line in named for part in line.split("&&") for word in part.removeprefix(" make ").split()}
    assert {word for word in words if "=" not in word} <= targets


def test_every_step_has_its_command() -> None:
    steps = {str(path.relative_to(ROOT)) for path in ROOT.glob("*/*/s[0-9]_*.py")}
    shown = {step for name in readmes.readmes() for c in readmes.commands(name) for step in c.steps}
    assert len(steps) >= 14
    assert steps - shown == {"online/main/s1_server.py"}  # a Flask application: flask --app runs it


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
def test_both_languages_show_the_same_commands_links_and_figures(pair: tuple[str, str]) -> None:
    english, chinese = map(text_of, pair)
    assert re.findall(r"<!-- figures: (\w+) -->", english) == re.findall(r"<!-- figures: (\w+) -->", chinese)
    shown = [[(c.text, bool(c.not_run), c.run_by) for c in readmes.commands(name)] for name in pair]
    assert shown[0] == shown[1]
    assert english.count("](") == chinese.count("](")


def test_every_command_is_run_by_a_test_or_says_why_not() -> None:
    """Those without a note are run by tests/e2e/walk/test_readmes.py, which reads them here."""
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "e2e").rglob("*.py"))
    found = [command for name in readmes.readmes() for command in readmes.commands(name)]
    assert len(readmes.to_run()) >= 10
    for command in found:
        if command.run_by:
            assert f"def {command.run_by}(" in tests, command
        if command.not_run:
            assert len(command.not_run) > 20, command
            for path in re.findall(r"tests/[\w/.]+", command.not_run):
                assert (ROOT / path).exists(), command


@pytest.mark.parametrize(
    "block", re.findall(r"```python\n(.*?)```", "".join(text_of(one) for one, _ in PAIRS), re.DOTALL)
)
def test_python_examples_run(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_exchange_center.recipes.RECIPES", dict(RECIPES))
    module = ModuleType("block")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(block, "README", "exec"), module.__dict__)


def test_rating_prediction_shows_every_width_and_test_scores_where_they_were_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
    rows = runpy.run_module("research.figures.offline_tables")["ratings"](figure, lambda text: text).splitlines()
    assert rows[2:6] == [
        "| 59 | the source's | 0.8123 | 0.8200 | 0.7000 |",
        "| 61 | with the factors | 0.8123 | - | - |",
        "| 70 | with the neighbours | 0.8123 | - | - |",
        "| 72 | with both | 0.8123 | 0.8400 | 0.7000 |",
    ]
    assert rows[-1] == "Measured by `make ratings` on a CPU, 2 cores, 8 GB; data: ml-1m."


def test_times_are_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = runpy.run_module("research.figures.demo_tables")
    base = {"command": "make it", "machine": {"cpu": "a CPU", "cores": 2, "memory_gb": 8}}
    parts = [{"part": "lint", "seconds": 20}, {"part": "unit tests", "seconds": 40}]
    told = draw["test"]({**base, "parts": parts}, lambda text: text)
    assert told.startswith("`make test` takes 60 seconds (lint 20, unit tests 40). Measured by `make it`")
    first, again = {"setup": 5, "sync": 7, "all": 12}, {"setup": 1, "sync": 7, "all": 8}
    told = draw["demo_time"]({**base, "first": first, "again": again}, lambda text: text)
    assert told.startswith("12 seconds on an empty machine (setup 5, sync 7), 8 when it runs again.")


def test_the_excerpt_shows_data_models_stores_check_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = runpy.run_module("research.figures.demo_tables")
    printed = json.loads((ROOT / "pic" / "figures" / "demo_output.json").read_text(encoding="utf-8"))
    lines = draw["brief"](printed, lambda text: text).splitlines()[1:-1]
    assert 15 <= len(lines) <= 25
    for word in (
        "ratings of",
        "tower:",
        "in Redis",
        "in Elasticsearch",
        "in Feast",
        "in Triton",
        "score   ",
        "is live",
    ):
        assert sum(word in line for line in lines) == 1, word


def test_containers_have_a_row_each(monkeypatch: pytest.MonkeyPatch) -> None:
    server = {"service": "server", "size_mb": 631.3, "shared_mb": 199.2, "seconds_to_healthy": 5.2, "memory_mb": 208.1}
    steps = {"service": "steps", "size_mb": 5777.6, "shared_mb": 199.2, "seconds_to_healthy": None, "memory_mb": None}
    figure = {
        "command": "make docker-figures",
        "machine": {"cpu": "a CPU", "cores": 2, "memory_gb": 8},
        "dataset": "ml-1m",
        "containers": [server, steps],
    }
    lines = runpy.run_module("research.figures.demo_tables")["containers"](figure, lambda text: text).splitlines()
    assert lines[2:4] == ["| `server` | 631.3 | 199.2 | 5.2 | 208.1 |", "| `steps` | 5777.6 | 199.2 | - | - |"]
    assert lines[-1].startswith("Measured by `make docker-figures`")
