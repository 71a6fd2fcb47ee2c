"""Figures name the version, the commit, the machine and the command that measured them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from data_exchange_center import VERSION
from research.figure_files import FIGURES, ROOT, commit, machine, write_figure
from research.figures.measure_all import PLAN

MEASURED = {
    path.name: figure
    for path in sorted(FIGURES.glob("*.json"))
    if "command" in (figure := json.loads(path.read_text(encoding="utf-8")))
}


def make_commands(command: str) -> list[tuple[list[str], list[str]]]:
    """Targets and arguments' names of each `make` of a shell command."""
    found = []
    for part in filter(re.compile(r"\bmake ").search, command.split("&&")):
        _, words = part.split("make ", 1)
        names = [name for name, is_value in re.findall(r"(\S+?)(=\S+)?(?=\s|$)", words) if is_value]
        found.append(([word for word in words.split() if "=" not in word], names))
    return found


def rules() -> dict[str, str]:
    """Target -> its line and recipe, of every Makefile."""
    names = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "*Makefile")
    files = subprocess.run(names, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    found: dict[str, str] = {}
    for targets, rule in re.findall(r"^([a-z0-9][a-z0-9 -]*):(.*(?:\n\t.*)*)", text, re.MULTILINE):
        found |= dict.fromkeys(targets.split(), rule)
    return found


COMMANDS = sorted({each["command"] for each in MEASURED.values()} | {each.command for each in PLAN})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_figures_command_is_a_make_target(command: str) -> None:
    known = rules()
    assert make_commands(command)
    for targets, arguments in make_commands(command):
        assert targets
        assert set(targets) <= set(known), command
        for name in arguments:
            settings = name.startswith("RECSYS_")
            assert settings or any(f"$({name})" in known[target] for target in targets), f"{command}: {name}"


def test_every_figure_says_what_measured_it() -> None:
    for name, figure in MEASURED.items():
        assert set(figure["machine"]) == {"cpu", "cores", "memory_gb", "system", "python"}, name
        assert set(figure["measured"]) - {"finished"} == {"version", "commit", "date"}, name


def test_a_figure_is_written_with_version_and_machine(tmp_path: Path) -> None:
    def written(*, finished: bool) -> dict[str, Any]:
        write_figure(tmp_path / "figure.json", {"command": "make it", "rows": [1]}, finished=finished)
        found: dict[str, Any] = json.loads((tmp_path / "figure.json").read_text(encoding="utf-8"))
        return found

    whole, half = written(finished=True), written(finished=False)
    assert (whole["rows"], whole["machine"]) == ([1], machine())
    assert (whole["measured"]["version"], whole["measured"]["commit"]) == (VERSION, commit())
    assert half["measured"] == {**whole["measured"], "finished": False}
