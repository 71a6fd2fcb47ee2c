"""The lock files: what is in which."""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.unit.stack.test_compose import pins

ROOT = Path(__file__).resolve().parents[2]
LOCKS = (
    *(
        "requirements.txt",
        "requirements-docs.txt",
        "requirements-mcp.txt",
        "requirements-research.txt",
    ),
    "requirements-dev.txt",
)
# What the project is built with: a step or the server uses each of them, not the stack or a measurement alone.
PACKAGES = (
    "pandas",
    "torch",
    "flask",
    "redis",
    "elasticsearch",
    "feast",
    "tritonclient",
    "onnx",
    "requests",
)


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def test_a_step_or_the_server_imports_each_package() -> None:
    core = ("offline", "offline_to_online", "online", "data_exchange_center")
    found = [
        imported(path) for folder in core for path in (ROOT / folder).rglob("*.py")
    ]
    assert {*PACKAGES} - set().union(*found) == set()


def test_the_demo_installs_no_tool_of_tests_and_measurements() -> None:
    tools = {
        "kubernetes-validate",
        "matplotlib",
        "mypy",
        "playwright",
        "pytest",
        "ruff",
        "schemathesis",
        "triton",
    }
    assert not tools & pins(ROOT / "requirements.txt").keys()


def test_a_package_has_one_version_in_all_lock_files() -> None:
    """So that what is added to an environment leaves what is there as it is."""
    whole = pins(ROOT / "requirements-dev.txt")
    for name in LOCKS:
        assert {package: whole[package] for package in pins(ROOT / name)} == pins(
            ROOT / name
        )


@pytest.mark.parametrize(
    "image", ["redis", "elasticsearch", "feast", "server", "steps"]
)
def test_an_image_locks_only_what_something_requires(image: str) -> None:
    """A package that nothing requires any more would be dropped by the next `make lock`, without a reason."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [
        *project["project"]["dependencies"],
        *itertools.chain(*project["dependency-groups"].values()),
    ]
    needed = {
        _normal(Requirement(each).name) for each in declared if isinstance(each, str)
    }
    locked = {_normal(name) for name in pins(ROOT / f"stack/images/{image}.txt")}
    oldest = {"python_full_version": "3.11.0", "python_version": "3.11"}
    for dist in distributions():
        extras = ("", *(dist.metadata.get_all("Provides-Extra") or ()))
        is_locked = _normal(dist.name) in {
            *locked,
            "mypy",
        }  # left out of images, but not what it requires
        for each in map(Requirement, dist.requires or ()) if is_locked else ():
            if each.marker is None or any(
                each.marker.evaluate({**oldest, "extra": extra}) for extra in extras
            ):
                needed.add(_normal(each.name))
    assert locked - needed == set()


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
