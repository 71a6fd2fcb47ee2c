"""The first hour of the README: every line is run here, or is named with the test that runs it."""

import re

import pytest

from tests.e2e.full.test_readmes import run
from tests.e2e.pipeline import ROOT, Pipeline

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
