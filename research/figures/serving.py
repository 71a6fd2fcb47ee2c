"""Draw what the server's benchmarks measured: where a request's time goes, and what too many requests do.

Reads:  pic/figures/waterfall.json, pic/figures/shed.json
Writes: pic/waterfall.png, pic/shed.png
Run:    make serving-pictures
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from data_exchange_center.figures import PICTURES, STYLE
from data_exchange_center.files import written_in_place
from research.figures.tables import Figure, read

COLOURS = {
    "redis": "#c0504d",
    "elasticsearch": "#e0a92e",
    "feast": "#6a9f58",
    "triton": "#7aa6d8",
    "own": "#1f4e8c",
    "server": "#1f4e8c",
    "http": "#9aa3ad",
}


def _alone(axes: Axes, level: Figure) -> None:
    """One request as it runs: Elasticsearch and Feast in parallel, the rest is our own code."""
    took = level["wall_ms"]
    recalled = took["redis"] + max(took["elasticsearch"], took["feast"])
    bars = {
        "redis": (0.0, took["redis"]),
        "elasticsearch": (took["redis"], took["elasticsearch"]),
        "feast": (took["redis"], took["feast"]),
        "triton": (recalled, took["triton"]),
        "own": (recalled + took["triton"], took["own"]),
        "http": (recalled + took["triton"] + took["own"], max(took["http"], 0.0)),
    }
    for row, (stage, (start, width)) in enumerate(bars.items()):
        axes.barh(row, width, left=start, color=COLOURS[stage])
        axes.text(start + width + 0.1, row, f"{width:.1f}", va="center", fontsize=9)
    axes.set(yticks=range(len(bars)), yticklabels=list(bars), xlabel="ms, medians", title="One request alone")
    axes.invert_yaxis()
    axes.margins(x=0.12)


def _stacked(axes: Axes, levels: Sequence[Figure], key: str, parts: Sequence[str], title: str) -> None:
    names = [str(level["in_flight"]) for level in levels]
    bottom = [0.0] * len(levels)
    for part in parts:
        heights = [max(level[key].get(part, 0.0), 0.0) for level in levels]
        axes.bar(names, heights, bottom=bottom, color=COLOURS[part], label=part, width=0.6)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    for place, top in enumerate(bottom):
        axes.text(place, top, f"{top:.1f}", ha="center", va="bottom", fontsize=9)
    axes.set(title=title, xlabel="requests in flight", ylabel="ms a request")
    axes.margins(y=0.12)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # right of the bars


def waterfall(figure: Figure) -> Picture:
    """A request alone as a waterfall; then what each stage waits, and what each process costs, by load."""
    picture = Picture(figsize=(14, 4.2), layout="constrained")
    alone, waiting, processor = picture.subplots(1, 3, width_ratios=(1.3, 1, 1))
    _alone(alone, figure["levels"][0])
    stages = ("redis", "elasticsearch", "feast", "triton", "own", "http")
    _stacked(waiting, figure["levels"], "waiting_ms", stages, "Waiting, by stage")
    parts = ("server", "elasticsearch", "triton", "feast", "redis")
    _stacked(processor, figure["levels"], "processor_ms", parts, "Processor time, by process")
    return picture


def shed(figure: Figure) -> Picture:
    """Goodput and what is turned away, and how long the accepted take, by load."""
    points: list[dict[str, Any]] = figure["points"]
    loads = [point["factor"] for point in points]
    picture = Picture(figsize=(11, 3.8), layout="constrained")
    left, right = picture.subplots(1, 2)
    left.plot(loads, [point["goodput"] for point in points], "o-", color=COLOURS["own"], label="goodput, of the best")
    left.plot(loads, [point["shed"] for point in points], "o-", color=COLOURS["redis"], label="share refused")
    left.axhline(figure["goodput_at_least"], color=COLOURS["http"], linestyle=":")
    left.set(ylim=(0, 1.1), title="What becomes of the requests")
    left.legend(frameon=False)
    right.plot(loads, [point["p99_ms"] for point in points], "o-", color=COLOURS["own"], label="p99")
    right.plot(loads, [point["p50_ms"] for point in points], "o-", color=COLOURS["triton"], label="p50")
    if "p99_ms_at_most" in figure:  # not in what was measured before it was judged
        right.axhline(figure["p99_ms_at_most"], color=COLOURS["http"], linestyle=":", label="the budget and a fifth")
    right.set(ylim=(0, None), title="Accepted requests, ms")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set(xscale="log", xticks=loads, xlabel="requests, times the best rate")
        axes.set_xticks([], minor=True)
        axes.set_xticklabels([f"{load:g}" for load in loads])
    return picture


def main() -> None:
    with mpl.rc_context(STYLE):
        for name, draw in (("waterfall", waterfall), ("shed", shed)):
            with written_in_place(PICTURES / f"{name}.png") as temporary:
                draw(read(f"{name}.json")).savefig(temporary, dpi=110, format="png", metadata={"Software": None})


if __name__ == "__main__":
    main()
