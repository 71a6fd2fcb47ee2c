"""Pictures are drawn from the files that commands wrote, and what is current is not measured again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from research.figure_files import FIGURES
from research.figures import costs, pictures, recommendations, tables
from research.figures.tables import with_range


@pytest.mark.parametrize(
    ("file", "draw"),
    [each for group in pictures.PICTURES_OF.values() for each in group.values()],
)
def test_a_picture_is_drawn_from_its_file(file: str, draw: Callable[[Any], Figure]) -> None:
    axes = draw(json.loads((FIGURES / file).read_text(encoding="utf-8"))).axes
    assert axes
    assert all(each.has_data() or each.texts for each in axes)


@pytest.mark.parametrize("name", sorted(tables.BLOCKS))
def test_a_block_does_not_mix_machines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machines, read = [], tables.read

    def recorded(file: str) -> Any:
        figure = read(file)
        machines.extend([figure["machine"]] if "command" in figure else [])
        return figure

    for module in (tables, costs, recommendations):
        monkeypatch.setattr(module, "read", recorded)
    tables.drawn(name)
    assert machines
    assert all(each == machines[0] for each in machines), machines


def test_the_spread_of_a_run_stands_next_to_its_value() -> None:
    assert with_range(7.14, [7.5, 6.9, 7.14]) == "7.14 (6.9–7.5)"
    assert with_range(None, []) is None, "nothing was answered"


def test_a_picture_of_other_figures_is_outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not pictures.outdated()
    monkeypatch.setattr(pictures, "FIGURES", tmp_path)
    (tmp_path / "shed.json").write_text("{}")
    assert pictures.outdated() == ["shed"]
