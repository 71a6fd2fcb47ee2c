"""A figure says of which code and machine it is; when that changes, it is stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data_exchange_center import figures
from data_exchange_center.figures import UNFINISHED, digest, drawn_from, machine, stale, write_figure

CODE = '''"""Adds."""


def add(one: int, other: int) -> int:
    """The sum."""
    return one + other  # of both
'''


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of a repository of its own."""
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    path = tmp_path / "room" / "module.py"
    path.parent.mkdir()
    path.write_text(CODE)
    return path


def written(path: Path, *, finished: bool = True) -> dict[str, Any]:
    digest.cache_clear()
    figures._without_words.cache_clear()
    write_figure(path, {"command": "make it", "rows": [1]}, ("room",), finished=finished)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def why(figure: dict[str, Any], here: dict[str, Any] | None = None) -> str:
    digest.cache_clear()
    figures._without_words.cache_clear()
    return stale(figure, here)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (CODE, ""),
        (CODE.replace("Adds", "Sums up").replace("# of both", "# two numbers").replace("The sum", "Their sum"), ""),
        (CODE.replace("one + other", "one - other"), "the code has changed"),
    ],
)
def test_a_figure_is_stale_when_its_code_has_changed(code: Path, tmp_path: Path, changed: str, reason: str) -> None:
    figure = written(tmp_path / "figure.json")
    assert figure["rows"] == [1]
    code.write_text(changed)
    assert why(figure, machine()) == reason


def test_a_figure_of_another_machine_or_half_of_one_is_stale(code: Path, tmp_path: Path) -> None:
    whole, half = written(tmp_path / "whole.json"), written(tmp_path / "half.json", finished=False)
    assert why(whole, {**machine(), "cores": 1024}) == "measured on another machine"
    assert why(half, machine()) == UNFINISHED
    assert why({"command": "make it"}) == "age unknown"
    assert why({"command": "make it", "ended": "8f65f0c"}) == why({"rows": []}) == ""
    assert drawn_from(tmp_path / "whole.json") != drawn_from(tmp_path / "half.json")
