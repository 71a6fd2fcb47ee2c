"""The lock files: what is in which."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-mcp.txt", "requirements-research.txt", "requirements-dev.txt")


def pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def test_the_demo_installs_no_tool_of_tests_and_measurements() -> None:
    tools = {"kubernetes-validate", "matplotlib", "mypy", "playwright", "pytest", "ruff", "schemathesis", "triton"}
    assert not tools & pins("requirements.txt").keys()


def test_a_package_has_one_version_in_all_lock_files() -> None:
    """So that what is added to an environment leaves what is there as it is."""
    whole = pins("requirements-dev.txt")
    for name in LOCKS:
        assert {package: whole[package] for package in pins(name)} == pins(name)
