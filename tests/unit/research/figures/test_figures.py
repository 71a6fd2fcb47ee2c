"""Pictures are drawn from the files that commands wrote, and what is current is not measured again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from data_exchange_center.figures import FIGURES, OFFLINE, write_figure
from past_one_machine import scaling
from research.figures import measure_all, pictures, readme, recommendations
from research.figures.tables import BLOCKS


@pytest.mark.parametrize(
    ("file", "draw"),
    [*(each for group in pictures.PICTURES_OF.values() for each in group.values()), ("scale.json", scaling.picture)],
)
def test_a_picture_is_drawn_from_its_file(file: str, draw: Callable[[Any], Figure]) -> None:
    axes = draw(json.loads((FIGURES / file).read_text(encoding="utf-8"))).axes
    assert axes
    assert all(each.has_data() or each.texts for each in axes)


def test_every_figure_that_a_command_writes_is_in_the_plan() -> None:
    found = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in FIGURES.glob("*.json")}
    ended = {name for name, figure in found.items() if "ended" in figure}
    measured = {name for name, figure in found.items() if "command" in figure} - ended
    assert measured <= {each.file for each in measure_all.PLAN}
    shown = {file for file, _ in BLOCKS.values()} | {*pictures.SOURCES.values()}
    assert found.keys() - ended <= {*shown, "source.json", recommendations.PUBLISHED, "evaluation_source.json"}


def test_what_is_current_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(command: str) -> bool:
        ran.append(command)
        if command == "make bench":
            write_figure(tmp_path / "serving.json", {"command": command}, OFFLINE)
        return "shed" not in command

    monkeypatch.setattr(measure_all, "FIGURES", tmp_path)
    monkeypatch.setattr(measure_all, "run", run)
    write_figure(tmp_path / "events.json", {"command": "make bench-events"}, OFFLINE)
    with pytest.raises(SystemExit, match=r"Not measured: shed\.json\."):
        measure_all.main(["serving.json", "shed.json", "events.json"], "")
    pages = "make evaluation-pictures serving-pictures readme"
    assert ran == ["make offline up sync serve", "make bench", "make bench-shed", pages]


def test_a_picture_of_other_figures_is_outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not pictures.outdated()
    monkeypatch.setattr(pictures, "FIGURES", tmp_path)
    (tmp_path / "shed.json").write_text("{}")
    assert pictures.outdated() == ["shed"]


def test_a_figure_that_is_not_measured_yet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLOCKS, "soak", ("no_such.json", lambda figure: ""))
    filled = readme.rendered("<!-- figures: soak -->\nOLD\n<!-- /figures -->")
    assert filled.splitlines()[1] == "Not measured yet: no command has written `pic/figures/no_such.json`."
