"""Every command of the READMEs that is not marked otherwise is run, literally, on the demo's stack."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from docs import notebooks
from tests import readmes
from tests.e2e.pipeline import ROOT, Pipeline


def run(pipeline: Pipeline, command: str) -> subprocess.CompletedProcess[str]:
    """In the repository's root, in the activated environment, against the demo's ports."""
    # the ports that the READMEs name, whatever the environment says
    default = Settings.model_construct()
    for service in ("server", "feast"):
        theirs, ours = (
            getattr(default, service).port,
            getattr(pipeline.settings, service).port,
        )
        command = command.replace(f"127.0.0.1:{theirs}/", f"127.0.0.1:{ours}/")
        command = command.replace(f"localhost:{theirs}/", f"localhost:{ours}/")
    activated = replace(pipeline, env=pipeline.activated())
    return activated.run(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        command.replace("curl ", "curl -sS --fail "),
        seconds=300,
    )


@pytest.mark.parametrize(
    "command",
    readmes.to_run(),
    ids=lambda command: f"{command.readme}: {command.text}"[:90],
)
def test_a_command_of_the_readmes_works(
    pipeline: Pipeline, command: readmes.Command
) -> None:
    done = run(pipeline, command.text)
    assert done.returncode == 0, done.stdout
    assert done.stdout.strip()
    assert "Traceback" not in done.stdout


def test_the_demo_runs_the_steps_that_the_readmes_show(pipeline: Pipeline) -> None:
    shown = [
        c
        for readme in readmes.readmes()
        for c in readmes.commands(readme)
        if c.run_by == "pipeline"
    ]
    steps = [step for command in shown for step in command.steps]
    assert "make demo" in {command.text for command in shown}
    assert len(steps) >= 12
    assert [step for step in steps if f"=== {step}" not in pipeline.output] == []


# The first hour of the README: every line is run here, or is named with the test that runs it.


# A word of the command -> the test that runs such a one; it takes minutes, or would end the stack
ELSEWHERE = {
    "RECSYS_RECIPE=source": "tests/e2e/full/test_movielens_1m.py",
    "RECSYS_DATA=my-shop": "tests/e2e/full/test_new_release.py",
    "make down": "tests/e2e/pipeline.py",
}


def first_hour() -> list[str]:
    """Commands of the numbered list, in order, each with those in brackets behind it."""
    text = (
        (ROOT / "README.md")
        .read_text(encoding="utf-8")
        .partition("## The first hour")[2]
        .partition("\n## ")[0]
    )
    return [
        command
        for line in re.findall(r"^\d+\. (.+)$", text, re.MULTILINE)
        for command in re.findall(r"`(.+?)`", line)
    ]


@pytest.mark.parametrize("command", first_hour())
def test_a_command_of_the_first_hour_works(pipeline: Pipeline, command: str) -> None:
    named = [
        test
        for word, test in ELSEWHERE.items()
        if word in command and "service=" not in command
    ]
    if named:
        assert (ROOT / named[0]).exists()
        return
    if "/ml/event" in command:  # of a user that no other test looks at
        command = command.replace('"userid": 1,', '"userid": 987654,')
    done = run(pipeline, command)
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout


# The tutorial's notebooks run from top to bottom on the demo's stack.


@pytest.mark.parametrize("name", notebooks.names())
def test_a_notebook_of_the_tutorial_runs(pipeline: Pipeline, name: str) -> None:
    done = notebooks.execute(name, pipeline.activated())
    assert any(cell.get("outputs") for cell in done.cells)


# The documentation builds strictly, without a network.


def test_the_documentation_has_its_pictures_and_names_no_machine(
    tmp_path: Path,
) -> None:
    # a proxy that is not there: whatever looks for the network fails
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    environment = os.environ | dict.fromkeys(names, "http://127.0.0.1:9")
    strictly = ["--fail-on-warning", "--keep-going", "--quiet"]
    html = tmp_path / "html"
    folders = ["-c", "docs", "-d", tmp_path / "doctrees", ".", html]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *strictly, *folders],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    pages = {page: page.read_text(encoding="utf-8") for page in html.rglob("*.html")}
    pictures = {
        page.parent / source
        for page, text in pages.items()
        for source in re.findall(r'<img\b[^>]*\bsrc="([^":?#]+)"', text)
        if not source.endswith("badge.svg")  # of the code's host
    }
    assert pictures
    assert [path for path in pictures if not path.is_file()] == []
    assert [page.name for page, text in pages.items() if str(ROOT) in text] == []
