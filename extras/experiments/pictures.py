"""The interval of an experiment over time, and those of the replayed ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Found = Mapping[str, Any]
SHADES = ("#1f4e8c", "#d1622b", "#3a8f5c", "#7a4fa3", "#9aa3ad", "#b8860b", "#444444")


def over_time(axes: Axes, found: Found) -> None:
    """How the difference of each arm, by the metric that decides, came to be user by user."""
    experiment = found["experiment"]
    first, *others = (arm["name"] for arm in experiment["arms"])
    if experiment["kind"] == "interleaved":
        paths, what = {others[0]: found["preference"]}, "preference"
    else:
        paths = {arm: found["differences"][arm][experiment["metric"]] for arm in others}
        what = f"difference in {experiment['metric']}"
    for (arm, difference), shade in zip(paths.items(), SHADES, strict=False):
        _path(axes, difference["path"], shade, f"{arm} against {first}")
    axes.axhline(0, color="#333333", linewidth=1)
    axes.set(title=f"{experiment['name']}: {what}, with its 95 % interval at any time", xlabel="users")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def replayed(found: Found) -> Figure:
    """A panel an experiment: left that which must come out even, right that which must not."""
    figure = Figure(figsize=(14, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    for axes, each in zip(panels.flat, found["experiments"].values(), strict=True):
        over_time(axes, each)
    return figure


def _path(axes: Axes, path: Found, shade: str, label: str) -> None:
    """From where there is an interval on: before, it is without end."""
    if not path:
        return
    there = [place for place, low in enumerate(path["low"]) if low is not None and abs(low) != float("inf")]
    users, estimate, low, high = (
        [path[name][place] for place in there] for name in ("users", "estimate", "low", "high")
    )
    axes.plot(users, estimate, color=shade, label=label)
    axes.fill_between(users, low, high, color=shade, alpha=0.2, linewidth=0)
