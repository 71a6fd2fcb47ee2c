"""The chapter "Extend it", followed to the letter: its new files and its diffs, on a copy of the packages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from data_exchange_center.recipes import DEFAULT
from offline.data.statistics import STATISTICS
from tests import readmes

HERE: Final = Path(__file__).parent
PACKAGES: Final = ("data_exchange_center", "offline", "offline_to_online", "online")
CHAPTERS: Final = {"offline/README.md": "## Extend it", "offline/README.zh-CN.md": "## 扩展"}
NEW: Final = {"data_exchange_center/channels/recent.py": "recent.py", "data_exchange_center/rankers/mlp.py": "mlp.py"}
ADDED: Final = {
    "offline/data/statistics.py": "first_event.py",
    "offline_to_online/parity/recount.py": "first_event_again.py",
}
EXTENDED: Final = """
import json
import data_exchange_center
from data_exchange_center.recipes import DEFAULT, Recipe
from offline.data.statistics import STATISTICS
from offline_to_online.parity.recount import RECOUNTS
recipe = Recipe.model_validate_json(DEFAULT.model_dump_json())
print(json.dumps({
    "from": data_exchange_center.__path__[0],
    "channels": [channel.name for channel in recipe.recall.channels],
    "ranker": recipe.ranker.kind,
    "statistics": sorted(each.column.name for each in STATISTICS),
    "counted again": sorted(RECOUNTS),
}))
"""


class Block(NamedTuple):
    """What the chapter says of a file: all of a new one (python), or what changes in one that is there (diff)."""

    file: str
    language: str
    text: str


def blocks(chapter: str) -> list[Block]:
    """In the order of the page."""
    text = (readmes.ROOT / chapter).read_text(encoding="utf-8").split(f"\n{CHAPTERS[chapter]}\n", 1)[1]
    told = text.split("\n## ", 1)[0]
    found = [Block(*each) for each in re.findall(r"`([\w/]+\.py)`[^`]*```(python|diff)\n(.*?)```", told, re.DOTALL)]
    assert len(found) == len(re.findall(r"```\w+\n", told)), "a block without its file's name right above it"
    return found


@pytest.fixture(scope="module")
def chapter() -> str:
    return next(iter(CHAPTERS))


def test_both_languages_show_the_same_code() -> None:
    one, other = ([(block.file, block.language) for block in blocks(chapter)] for chapter in CHAPTERS)
    assert one == other


@pytest.fixture(scope="module")
def extended(chapter: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages to which everything on the page has been done."""
    copied = tmp_path_factory.mktemp("extended")
    shutil.copyfile(readmes.ROOT / "pyproject.toml", copied / "pyproject.toml")
    for file in (file for package in PACKAGES for file in (readmes.ROOT / package).rglob("*.py")):
        copy = copied / file.relative_to(readmes.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    for block in blocks(chapter):
        file = copied / block.file
        assert file.exists() == (block.language == "diff"), file
        file.write_text(block.text if block.language == "python" else patched(file, block.text), encoding="utf-8")
    return copied


def patched(file: Path, diff: str) -> str:
    """Each hunk's old lines must stand in the file, once."""
    text = file.read_text(encoding="utf-8")
    for hunk in diff.split("@@\n"):
        lines = [(line[:1], line[1:] + "\n") for line in hunk.splitlines()]
        old, new = ("".join(line for sign, line in lines if sign in (" ", kept)) for kept in "-+")
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_the_code_it_shows_is_the_code_that_is_tested(chapter: str) -> None:
    told = {block.file: block.text for block in blocks(chapter)}
    for file, tested in NEW.items():
        assert told[file] == (HERE / tested).read_text(encoding="utf-8")
    for file, tested in ADDED.items():
        added = "".join(line[1:] for line in told[file].splitlines(keepends=True) if line.startswith("+"))
        _, _, code = (HERE / tested).read_text(encoding="utf-8").partition("\n\n\n")  # below the imports
        assert code in added


def test_each_example_can_be_followed_alone(chapter: str) -> None:
    """No diff needs the one of another example."""
    for block in (each for each in blocks(chapter) if each.language == "diff"):
        assert patched(readmes.ROOT / block.file, block.text)


def test_what_follows_it_has_one_of_each_more(extended: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(extended)}  # before the installed ones
    said = run(extended, sys.executable, "-c", EXTENDED, env=env)
    statistics = sorted([*(each.column.name for each in STATISTICS), "first_event"])
    assert json.loads(said) == {
        "from": str(extended / "data_exchange_center"),
        "channels": [*(channel.name for channel in DEFAULT.recall.channels), "recent"],
        "ranker": "mlp",
        "statistics": statistics,
        "counted again": statistics,
    }


def run(folder: Path, *command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
