"""A picture of what the steps cost as the data grows, drawn at the end of ``make bench-scale``: pic/scale.png."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_exchange_center.figures import COLOURS, STYLE
from data_exchange_center.files import written_in_place
from past_one_machine.scaling.lines import Line

log = logging.getLogger(__name__)

DASHES: Final = {"pandas": "-", "spark": "--"}
PANELS: Final = {"seconds": "seconds", "peak_mb": "peak memory, MB"}


def costs(found: Mapping[str, Any]) -> Figure:
    """``found``: the report. The steps that were measured at several sizes, with every engine."""
    figure = Figure(figsize=(14, 5.2), layout="constrained")
    panels = list(figure.subplots(1, len(PANELS)))
    for axes, (measure, title) in zip(panels, PANELS.items(), strict=True):
        _panel(axes, found, measure)
        axes.set(title=title, xlabel="events", xscale="log", yscale="log")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=10)
    return figure


def _panel(axes: Axes, found: Mapping[str, Any], measure: str) -> None:
    sizes = sorted({row["events"] for row in found["rows"]})
    grown = [each for each in found["lines"] if each[measure]["exponent"] is not None]
    steps = list(dict.fromkeys(each["step"] for each in grown))
    for each in grown:
        rows = [row for row in found["rows"] if (row["step"], row["engine"]) == (each["step"], each["engine"])]
        colour = COLOURS[steps.index(each["step"]) % len(COLOURS)]
        axes.plot([row["events"] for row in rows], [row[measure] for row in rows], "o", color=colour)
        events = np.geomspace(sizes[0], sizes[-1], 50)
        along = [Line(**each[measure]).at(size) for size in events]
        label = f"{Path(each['step']).stem}, {each['engine']}"
        axes.plot(events, along, DASHES[each["engine"]], color=colour, label=label)


def draw(found: Mapping[str, Any], path: Path) -> None:
    """``found``: the report."""
    with mpl.rc_context(STYLE), written_in_place(path) as temporary:
        costs(found).savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    log.info("written: %s", path)
