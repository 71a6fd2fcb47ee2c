"""The lock files: what is installed, by hash, and for which machines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = (
    "requirements-uv.txt", "requirements.txt", "requirements-mcp.txt", "requirements-research.txt",
    "requirements-dev.txt",
)  # fmt: skip


def pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_locked_by_hash(name: str) -> None:
    entries = re.split(r"\n(?=[a-z])", (ROOT / name).read_text(encoding="utf-8"))
    assert [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []


def test_the_demo_installs_no_tool_of_tests_and_measurements() -> None:
    tools = {"kubernetes-validate", "matplotlib", "mypy", "playwright", "pytest", "ruff", "schemathesis", "triton"}
    assert not tools & pins("requirements.txt").keys()


def test_a_package_has_one_version_in_all_lock_files() -> None:
    """So that what is added to an environment leaves what is there as it is."""
    whole = pins("requirements-dev.txt")
    for name in LOCKS[1:]:
        assert {package: whole[package] for package in pins(name)} == pins(name)
