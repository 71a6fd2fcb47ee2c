"""What the Makefile hands to the steps."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = ("RECSYS_DATA", "RECSYS_EXCHANGE_DIR", "RECSYS_SERVICES_DIR")
PROBE = """
include Makefile
.PHONY: probe
probe:
\t@echo "$${RECSYS_DATA:-}|$${RECSYS_EXCHANGE_DIR:-}|$${RECSYS_SERVICES_DIR:-}|$(SERVICES)"
"""


def make(*arguments: str, text: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RECSYS_", "MAKE", "MFLAGS"))
    }
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        input=text,
        env={**environment, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def handed_over(*arguments: str, **variables: str) -> list[str]:
    done = make("--file=-", "probe", *arguments, text=PROBE, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip("\n").split("|")


def test_a_relative_path_is_handed_over_absolute() -> None:
    there = str(ROOT.parent / "there")
    variables = dict.fromkeys(PATHS, "../there")
    assert handed_over(**variables) == [there] * 4
    assert handed_over(*(f"{name}=../there" for name in PATHS)) == [there] * 4  # on make's command line


def test_an_absolute_path_stays_as_it_is() -> None:
    data = "/data/my films/it's $HOME.zip"
    assert handed_over(RECSYS_DATA=data, RECSYS_SERVICES_DIR="/opt/s")[::2] == [data, "/opt/s"]
    assert handed_over(RECSYS_DATA="my films/a.zip")[0] == str(ROOT / "my films/a.zip")


def test_what_is_not_given_is_not_handed_over() -> None:
    assert handed_over() == ["", "", "", ".services"]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["releases"], "offline_to_online.releases list"),
        (["activate", "release=abc123"], 'offline_to_online.releases activate "abc123"'),
        (["doctor"], "offline_to_online.doctor"),
        (["sync"], "s1_go_live.py"),
    ],
)
def test_a_target_of_the_bridge_runs_its_command(arguments: list[str], command: str) -> None:
    done = make("--dry-run", *arguments, "--assume-old=setup")
    assert done.returncode == 0, done.stderr
    assert command in done.stdout


def test_activate_without_a_release_says_which_there_are() -> None:
    done = make("activate", "--assume-old=setup")
    assert done.returncode != 0
    assert "make activate release=" in done.stderr
    assert "make releases" in done.stderr
