"""The core works without its optional packages: each is taken away from a copy of the repository, in turn.

Taking a folder and its tests away is all that is done; nothing is edited.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.pipeline import ml_100k as written

ROOT: Final = Path(__file__).resolve().parents[2]
CORE: Final = ("data_exchange_center", "offline", "offline_to_online", "online")
PACKAGES: Final = ("extras", "past_one_machine", "research")
EXTRAS: Final = tuple(
    sorted(
        f"extras/{path.parent.name}" for path in (ROOT / "extras").glob("*/__init__.py")
    )
)
# The environment finds the packages of this checkout; a copy must not find in it what was taken away.
ABSENT: Final = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if f"{{name}}.".startswith({gone!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
IMPORT_ALL: Final = """
import importlib, pathlib, sys
paths = [p for package in sys.argv[1:] for p in sorted(pathlib.Path(package).rglob("*.py"))]
skipped = ("model.py", "definitions.py", "cli.py", "launch.py", "__main__.py")  # files of Triton and Feast; commands
modules = [".".join(p.with_suffix("").parts) for p in paths if p.name not in skipped]
for module in modules:
    importlib.import_module(module.removesuffix(".__init__"))
print(len(modules))
"""
REQUEST: Final = """
from data_exchange_center.settings import ServerSettings, Settings
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.unit.online.fakes import FakeFeatures, FakeItems, FakeScorer, FakeUsers
from tests.unit.online.world import DefaultWorld
world = DefaultWorld()
services = FakeUsers(world, live=world.release), FakeItems(world), FakeFeatures(world), FakeScorer(world)
recommender = Recommender(*services, ServerSettings(budget_ms=5000, warm_up_s=0))
recommender.releases.follow()
http = create_app(recommender, Settings()).test_client()
answer = http.post("/ml/rec", json={"userid": 1})
assert answer.status_code == 200, answer.text
assert len(answer.json["item_list"]) == 50
print("paths:", *http.get("/openapi.json").json["paths"])
recommender.close()
"""


@dataclass(frozen=True)
class Copy:
    """A copy of the repository."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, **more: str) -> str:
        """Run a command in the copy. Returns its output."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | more,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


def without(packages: Collection[str], folder: Path) -> Copy:
    """Copy the repository without ``packages`` and their tests."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(
        listed, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    tests = tuple(
        f"tests/{kind}/{package}/"
        for package in packages
        for kind in ("", "unit", "services")
    )
    gone = (
        *(f"{package}/" for package in packages),
        *(name.replace("//", "/") for name in tests),
    )
    for name in files:
        if not name.startswith(gone) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for command in (
        ("init", "-q"),
        ("add", "."),
    ):  # a test asks git for the files of the code
        subprocess.run(["git", *command], cwd=folder, check=True)
    for shared in (".venv", ".services"):
        (folder / shared).symlink_to(ROOT / shared)
    modules = tuple(f"{package.replace('/', '.')}." for package in packages)
    (folder / "sitecustomize.py").write_text(
        ABSENT.format(gone=modules), encoding="utf-8"
    )
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RECSYS_", "MAKE", "MFLAGS"))
    }
    return Copy(
        folder,
        {
            **kept,
            "PYTHONPATH": str(folder),
            "RECSYS_EXCHANGE_DIR": str(folder / "exchange"),
        },
    )


@pytest.fixture(scope="module")
def ml_100k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MovieLens-100K in a folder."""
    return written(tmp_path_factory.mktemp("ml-100k") / "data")


@pytest.mark.parametrize("package", PACKAGES)
def test_core_imports_and_steps_run_without_a_package(
    package: str, tmp_path: Path, ml_100k: Path
) -> None:
    copy = without([package], tmp_path)
    assert int(copy.run(sys.executable, "-c", IMPORT_ALL, *CORE).splitlines()[-1]) > 80
    printed = copy.run("make", "offline", RECSYS_DATA=str(ml_100k))
    assert "ml-100k: 100,000 ratings of 943 users" in printed
    assert "=== offline/rank/s2_model_train.py" in printed


@pytest.mark.parametrize("package", [*PACKAGES, *EXTRAS])
def test_server_answers_without_a_package_or_extension(
    package: str, tmp_path: Path
) -> None:
    paths = without([package], tmp_path).run(sys.executable, "-c", REQUEST)
    assert "/ml/rec" in paths
    assert ("/ml/why-not" in paths) == (package not in ("extras", "extras/explain"))
    assert ("/ml/event" in paths) == (package not in ("extras", "extras/events"))


def test_core_unit_tests_pass_without_optional_packages(tmp_path: Path) -> None:
    copy = without(PACKAGES, tmp_path)
    tests = [f"tests/unit/{package}" for package in CORE]
    options = (
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--numprocesses",
        "2",
        "--dist",
        "loadfile",
    )
    assert " passed" in copy.run(sys.executable, "-m", "pytest", *tests, *options)
