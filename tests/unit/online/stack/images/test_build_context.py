"""What the images are built from: all of the code, and none of the data."""

from __future__ import annotations

import subprocess
from pathlib import PurePosixPath

import pytest

from tests.readmes import ROOT


def is_sent(file: str) -> bool:
    """Whether Docker gets a file: the last pattern of .dockerignore that matches it, or a folder above it, decides."""
    path, sent = PurePosixPath(file), True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        matching = (each for each in (path, *path.parents) if len(each.parts) == len(PurePosixPath(pattern).parts))
        if line and not line.startswith("#") and any(each.match(pattern) for each in matching):
            sent = line.startswith("!")
    return sent


PACKAGES = ("data_exchange_center", "offline", "offline_to_online", "online", "extras", "research")


@pytest.mark.parametrize("package", [package for package in PACKAGES if (ROOT / package).is_dir()])
def test_all_of_the_code_is_in_the_images(package: str) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", f"{package}/*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(tracked) > 5
    assert [file for file in tracked if not is_sent(file)] == []


@pytest.mark.parametrize("folder", ["offline", "offline_to_online", "online"])
def test_none_of_the_data_is(folder: str) -> None:
    assert not is_sent(f"data_exchange_center/{folder}/ratings.parquet")


@pytest.mark.parametrize("file", [".git/config", ".venv/bin/python", "tests/conftest.py"])
def test_nothing_else_is(file: str) -> None:
    assert not is_sent(file)
