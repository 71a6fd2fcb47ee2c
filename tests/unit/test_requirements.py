"""The lock files: what is in which."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.unit.stack.test_compose import pins

ROOT = Path(__file__).resolve().parents[2]
LOCKS = (
    *("requirements.txt", "requirements-docs.txt", "requirements-mcp.txt", "requirements-research.txt"),
    "requirements-dev.txt",
)


def test_the_demo_installs_no_tool_of_tests_and_measurements() -> None:
    tools = {"kubernetes-validate", "matplotlib", "mypy", "playwright", "pytest", "ruff", "schemathesis", "triton"}
    assert not tools & pins(ROOT / "requirements.txt").keys()


def test_a_package_has_one_version_in_all_lock_files() -> None:
    """So that what is added to an environment leaves what is there as it is."""
    whole = pins(ROOT / "requirements-dev.txt")
    for name in LOCKS:
        assert {package: whole[package] for package in pins(ROOT / name)} == pins(ROOT / name)


def test_sparks_environment_has_what_the_stores_import() -> None:
    lacking = pins(ROOT / "requirements-dev.txt").keys() - pins(ROOT / "past_one_machine/spark/requirements.txt").keys()
    modules = [name for name, packages in packages_distributions().items() if lacking >= {*map(_normal, packages)}]
    blocked = f"import sys; sys.modules.update(dict.fromkeys({modules}))"
    assert "torch" in modules
    subprocess.run([sys.executable, "-c", f"{blocked}; import past_one_machine.spark.stores"], cwd=ROOT, check=True)


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
