"""The server answers without each room and each extra, which is taken away from a copy of the repository in turn."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
EXTRAS: Final = tuple(sorted(f"extras/{path.name}" for path in (ROOT / "extras").iterdir() if path.is_dir()))
ROOMS: Final = ("extras", *EXTRAS, "research", "past_one_machine")
# Before anything else: the copy is imported, not the repository that is installed in this environment.
BOOT: Final = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
sys.path = [".", *(path for path in sys.path if path != {root!r} and "__editable__" not in path)]
"""
IMPORTS: Final = """
import importlib, pathlib
for path in sorted(pathlib.Path().glob("o*/*/s[0-9]_*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts))
"""
REQUEST: Final = """
import tempfile, pathlib
from data_exchange_center.settings import ServerSettings, Settings
from online.main.s1_server import create_app
from online.recommend.fallback import LastRelease
from online.recommend.recommend import Recommender
from tests.unit.online.fakes import FakeFeatures, FakeItems, FakeScorer, FakeUsers
from tests.unit.online.world import DefaultWorld
world = DefaultWorld()
services = FakeUsers(world, live=world.release), FakeItems(world), FakeFeatures(world), FakeScorer(world)
last = LastRelease(pathlib.Path(tempfile.mkdtemp()) / "last.json")
recommender = Recommender(*services, ServerSettings(budget_ms=5000, warm_up_s=0), last)
http = create_app(recommender, Settings()).test_client()
answer = http.post("/ml/rec", json={{"userid": 1}})
assert answer.status_code == 200, answer.text
assert len(answer.json["item_list"]) == 50
print("paths:", *http.get("/openapi.json").json["paths"])
recommender.close()
"""


def copy_without(room: str, folder: Path) -> Path:
    """The tracked files, but for a room's and its tests'."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    gone = (f"{room}/", f"tests/unit/{room}/", f"tests/services/{room}/")
    for name in tracked.splitlines():
        if not name.startswith(gone) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def run(folder: Path, script: str, **values: object) -> str:
    """What a script prints that runs in the copy, and imports it."""
    done = subprocess.run(
        [sys.executable, "-c", (BOOT + script).format(root=str(ROOT), **values)],
        cwd=folder, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("room", ROOMS)
def test_without_a_room_the_steps_import_and_the_server_answers(room: str, tmp_path: Path) -> None:
    folder = copy_without(room, tmp_path)
    run(folder, IMPORTS)
    paths = run(folder, REQUEST)
    assert "/ml/rec" in paths
    assert ("/ml/why-not" in paths) == (room not in ("extras", "extras/explain"))
    assert ("/ml/event" in paths) == (room not in ("extras", "extras/events"))
