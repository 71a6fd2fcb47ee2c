"""Every block of the READMEs and every picture is drawn once, from the file that a command wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.figure import Figure

from data_exchange_center.figures import FIGURES
from past_one_machine import scaling
from research.figures import pictures, readme
from research.figures.tables import BLOCKS

LOSSES: dict[str, Any] = {"epochs": [{"epoch": n, "loss": 5 / n, "auc": {}} for n in (1, 2)], "auc": {}}


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_block_is_drawn_from_its_file(name: str) -> None:
    drawn = readme.rendered(f"<!-- figures: {name} -->\nOLD\n<!-- /figures -->")
    assert drawn.splitlines()[1] != "OLD"
    assert not re.search(r"\b(nan|None|inf)\b", drawn), drawn
    for table in re.findall(r"(?:^\|.*\n?)+", drawn, re.MULTILINE):
        widths = {line.count("|") for line in table.replace(r"\|", "").splitlines()}
        assert len(widths) == 1, table


@pytest.mark.parametrize(
    ("file", "draw"),
    [*(each for group in pictures.PICTURES_OF.values() for each in group.values()), ("scale.json", scaling.picture)],
)
def test_a_picture_is_drawn_from_its_file(file: str, draw: Callable[[Any], Figure]) -> None:
    check_drawn(draw(json.loads((FIGURES / file).read_text(encoding="utf-8"))))


def test_a_training_is_drawn_with_a_panel_a_model() -> None:
    solved: dict[str, Any] = {"auc": {}, "epochs": []}
    figure = pictures.training({"tower": LOSSES, "ease": solved, "list": LOSSES})
    assert [axes.get_title(loc="center") for axes in figure.axes] == ["tower: loss", "list: loss"]
    check_drawn(figure)


def check_drawn(figure: Figure) -> None:
    """Each panel shows something, and every number of it is one."""
    assert figure.axes
    for axes in figure.axes:
        assert axes.lines or axes.patches or axes.collections or axes.texts
        for line in axes.lines:
            assert all(value == value for value in map(float, line.get_ydata()))  # type: ignore[arg-type]


def test_a_figure_that_is_not_measured_yet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLOCKS, "soak", ("no_such.json", lambda figure: ""))
    filled = readme.rendered("<!-- figures: soak -->\nOLD\n<!-- /figures -->")
    assert filled.splitlines()[1] == "Not measured yet: no command has written `pic/figures/no_such.json`."
