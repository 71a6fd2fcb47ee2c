"""A figure says of which code and machine it is; when that changes, it is stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from research import reports
from research.figure_files import machine, write_figure
from research.reports import UNFINISHED, drawn_from, stale

CODE = "research/reports.py"


def written(path: Path, *, finished: bool = True) -> dict[str, Any]:
    write_figure(path, {"command": "make it", "rows": [1]}, (CODE,), finished=finished)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_figure_is_stale_when_its_code_has_changed_or_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = written(tmp_path / "figure.json")
    assert figure["rows"] == [1]
    assert stale(figure, machine()) == ""
    monkeypatch.setattr(reports, "digest", lambda code: f"another than of {code}")
    assert stale(figure, machine()) == "the code has changed"
    monkeypatch.setattr(reports, "ROOT", tmp_path)
    assert stale(figure, machine()) == "the code has changed"


def test_a_figure_of_another_machine_or_half_of_one_is_stale(tmp_path: Path) -> None:
    whole, half = written(tmp_path / "whole.json"), written(tmp_path / "half.json", finished=False)
    assert stale(whole, {**machine(), "cores": 1024}) == "measured on another machine"
    assert stale(half, machine()) == UNFINISHED
    assert stale({"command": "make it"}) == "age unknown"
    assert stale({"command": "make it", "ended": "8f65f0c"}) == stale({"rows": []}) == ""
    assert drawn_from(tmp_path / "whole.json") != drawn_from(tmp_path / "half.json")
