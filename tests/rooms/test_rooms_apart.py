"""The core works without the rooms that hang on it: each is taken away from a copy of the repository, in turn.

Without each, every module of the core can be imported, and the seven steps run on MovieLens-100K. Taking a folder away
is all that is done; nothing is edited.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
CORE: Final = ("data_exchange_center", "offline", "offline_to_online", "online")
ROOMS: Final = ("extras", "past_one_machine", "research")
# The environment finds the packages of this checkout; a copy must not find in it what was taken away.
ABSENT: Final = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {rooms!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
IMPORT_ALL: Final = """
import importlib, pathlib, sys
paths = [p for room in sys.argv[1:] for p in sorted(pathlib.Path(room).rglob("*.py"))]
skipped = ("model.py", "definitions.py", "launch.py", "__main__.py")  # files of Triton and Feast; commands
modules = [".".join(p.with_suffix("").parts) for p in paths if p.name not in skipped]
for module in modules:
    importlib.import_module(module.removesuffix(".__init__"))
print(len(modules))
"""


def without(rooms: Collection[str], folder: Path) -> dict[str, str]:
    """Copy the repository without ``rooms`` and their tests. Returns the environment for processes in the copy."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for name in files:
        path = Path(name)
        of_room = path.parts[0] in rooms or (path.parts[0] == "tests" and set(path.parts) & set(rooms))
        if not of_room and (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path)
    for shared in (".venv", ".services"):
        (folder / shared).symlink_to(ROOT / shared)
    (folder / "sitecustomize.py").write_text(ABSENT.format(rooms=set(rooms)), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECSYS_", "MAKE", "MFLAGS"))}
    return {**kept, "PYTHONPATH": str(folder), "RECSYS_EXCHANGE_DIR": str(folder / "exchange")}


def run(folder: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.parametrize("room", ROOMS)
def test_without_a_room_the_core_is_imported_and_the_steps_run(room: str, tmp_path: Path, ml_100k: Path) -> None:
    environment = without([room], tmp_path)
    imported = run(tmp_path, environment, sys.executable, "-c", IMPORT_ALL, *CORE)
    assert int(imported.splitlines()[-1]) > 100
    printed = run(tmp_path, environment | {"RECSYS_DATA": str(ml_100k)}, "make", "offline")
    assert "ml-100k: 100,000 ratings of 943 users" in printed
    assert "=== offline/rank/s2_model_train.py" in printed
