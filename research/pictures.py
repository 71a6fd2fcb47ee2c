"""Draw the pictures of the figures: ``make pictures``.

Reads:  pic/figures/*.json, which the measurements write
Writes: pic/{evaluation,shed}.png
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_exchange_center.files import written_in_place
from data_exchange_center.steps import StepError, run
from research import figures
from research.tables import read

log = logging.getLogger(__name__)

Found = Mapping[str, Any]
GREY, SOURCE, CHANNEL, OURS = "#9aa3ad", "#d1622b", "#7aa6d8", "#1f4e8c"
MODELS: Final = ("#3b6fb6", "#d1622b", "#3a8f5c", "#8a5aa8", "#7a7a7a")
STYLE: Final[Any] = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
}  # matplotlib's rc parameters
METRICS: Final = {
    "recall@200": "recall@200",
    "recall@50": "recall@50",
    "ndcg@50": "NDCG@50",
}


def colour(system: str) -> str:
    """By kind: baseline, the source, one channel, ours."""
    if system.startswith("source"):
        return SOURCE
    if "channel" in system:
        return CHANNEL
    return OURS if ":" in system else GREY


def intervals(parts: Sequence[Found]) -> tuple[list[float], list[list[float]]]:
    """Means, and how far below and above them the intervals reach; 0 for an empty slice."""
    means, below, above = [], [], []
    for part in parts:
        mean = part["mean"] or 0.0
        means.append(mean)
        below.append(mean - (part["low"] or 0.0))
        above.append((part["high"] or 0.0) - mean)
    return means, [below, above]


# --- Quality


def systems(found: Found) -> Figure:
    """Every system with its 95 % interval, a panel a metric."""
    names = list(found["systems"])
    colours = [colour(name) for name in names]
    figure = Figure(figsize=(14, 0.5 * len(names) + 1.6), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(METRICS), sharey=True))
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        parts = [found["systems"][name][metric] for name in names]
        means, errors = intervals(parts)
        axes.barh(
            range(len(parts)),
            means,
            xerr=errors,
            color=colours,
            height=0.7,
            error_kw={"lw": 1, "capsize": 2},
        )
        for place, part in enumerate(parts):
            axes.text(
                part["high"], place, f"  {part['mean']:.3f}", va="center", fontsize=11
            )
        axes.set_xlim(0, max(part["high"] for part in parts) * 1.2)
        axes.set(title=title, yticks=range(len(names)), yticklabels=names)
        axes.grid(visible=False, axis="y")
    panels[0].invert_yaxis()
    return figure


# --- Overload


def shed(found: Found) -> Figure:
    """Goodput, share refused, and latency of accepted requests, by load."""
    points = found["points"]
    loads = [point["factor"] for point in points]
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    lines = (
        (left, "goodput", "goodput, of the best", OURS),
        (left, "shed", "share refused", SOURCE),
        (right, "p99_ms", "p99", OURS),
        (right, "p50_ms", "p50", CHANNEL),
    )
    for axes, name, label, shade in lines:
        axes.plot(
            loads, [point[name] for point in points], "o-", color=shade, label=label
        )
    left.axhline(found["goodput_at_least"], color=GREY, linestyle=":")
    left.set(ylim=(0, 1.1), title="What becomes of the requests")
    right.axhline(
        found["p99_ms_at_most"],
        color=GREY,
        linestyle=":",
        label="the budget and a fifth",
    )
    right.set(ylim=(0, None), title="Accepted requests, ms")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.set(xscale="log", xticks=loads, xlabel="requests, times the best rate")
        axes.set_xticks([], minor=True)
        axes.set_xticklabels([f"{load:g}" for load in loads])
    return figure


# --- The command

DRAWN: Final[
    Mapping[str, tuple[str, Callable[[Found], Figure]]]
] = {  # picture -> its file, what draws it
    "evaluation": ("evaluation.json", systems),
    "shed": ("shed.json", shed),
}


def save(name: str, drawn: Figure) -> None:
    path = figures.PICTURES / f"{name}.png"
    with written_in_place(path, mode=0o644) as temporary:
        drawn.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
    log.info("written: %s", path)


def main() -> None:
    with mpl.rc_context(STYLE):
        for name, (file, draw) in DRAWN.items():
            if not (figures.FIGURES / file).is_file():
                raise StepError(
                    f"pic/figures/{file} is missing: run the command that measures it (make figures)."
                )
            save(name, draw(read(file)))


if __name__ == "__main__":
    run(lambda _: main())
