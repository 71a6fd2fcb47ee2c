"""Each step that was measured at several sizes has its points and its line, with every engine."""

from __future__ import annotations

from typing import Any

from past_one_machine.scaling import pictures
from past_one_machine.scaling.__main__ import lines

SIZES = (1_000, 4_000)


def row(step: str, engine: str, events: int) -> dict[str, Any]:
    cost = {"seconds": events / 1_000, "cpu_seconds": 1.0, "peak_mb": 100 + events / 10}
    return {"step": step, "engine": engine, "events": events, **cost}


def test_points_and_lines() -> None:
    rows = [
        row(step, engine, size) for step in ("a/s0.py", "a/s1.py") for engine in ("pandas", "spark") for size in SIZES
    ]
    rows.append(row("a/s2.py", "pandas", SIZES[0]))  # at one size alone
    figure = pictures.costs({"rows": rows, "lines": lines(rows)})
    seconds, memory = figure.axes
    labels = [line.get_label() for line in seconds.lines if not str(line.get_label()).startswith("_")]
    assert labels == ["s0, pandas", "s0, spark", "s1, pandas", "s1, spark"]
    for axes, values in ((seconds, [1, 4]), (memory, [200, 500])):
        points, along = axes.lines[:2]
        assert list(points.get_xdata()) == list(SIZES)
        assert list(points.get_ydata()) == values
        assert [round(float(along.get_ydata()[end]), 6) for end in (0, -1)] == values
