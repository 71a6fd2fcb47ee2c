"""Pictures of the evaluation, drawn from the figures that its commands wrote: ``make evaluation-pictures``.

Reads:  pic/figures/evaluation.json, evaluation_live_events.json, diversity.json and experiments.json
Writes: pic/evaluation.png (systems), pic/funnel.png, pic/slices.png, pic/live_events.png, pic/diversity.png,
        pic/experiments.png
Run:    python -m research.figures.evaluation_pictures
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_exchange_center.figures import FIGURES, PICTURES, STYLE
from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.experiments.report import over_time
from research.measure.diversity import COST

log = logging.getLogger(__name__)

Found = Mapping[str, Any]
LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # a value stays readable on a line
BASELINE, SOURCE, CHANNEL, OURS = "#9aa3ad", "#d1622b", "#7aa6d8", "#1f4e8c"
METRICS = {"recall@200": "recall@200", "recall@50": "recall@50", "ndcg@50": "NDCG@50"}
SLICES = {
    "returning": "back after\nan hour or more",
    "same session": "in the same\nsession",
    "few ratings": "fewer than\n50 ratings",
    "many ratings": "200 ratings\nor more",
    "popular films": "popular films",
    "rare films": "rare films",
}


def colour(system: str) -> str:
    """By kind: baseline, the source, one channel, ours."""
    if system.startswith("source"):
        return SOURCE
    if "channel" in system:
        return CHANNEL
    return OURS if ":" in system else BASELINE


def systems(found: Found) -> Figure:
    """Every system with its 95 % interval, a panel a metric."""
    names = list(found["systems"])
    figure = Figure(figsize=(14, 0.5 * len(names) + 1.6), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(METRICS), sharey=True))
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        parts = [found["systems"][name][metric] for name in names]
        _bars(axes, parts, [colour(name) for name in names])
        axes.set(title=title, yticks=range(len(names)), yticklabels=names)
        axes.grid(visible=False, axis="y")
    panels[0].invert_yaxis()
    return figure


def funnel(found: Found) -> Figure:
    """Draw the share that each stage holds, a panel a cut; the dark end of a channel's bar is found by no other."""
    cuts = ("200", "50", "10")
    channels = list(found["funnel"][cuts[0]]["channels"])
    names = [*(f"channel {name}" for name in channels), "any channel", "fused", "ranked"]
    figure = Figure(figsize=(14, 0.55 * len(names) + 1.6), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(cuts), sharey=True))
    for axes, cut in zip(panels, cuts, strict=True):
        stage = found["funnel"][cut]
        shares = [stage["channels"][name]["found"] for name in channels]
        alone = [stage["channels"][name]["by no other"] for name in channels]
        values = [*shares, stage["found by any"], stage["fused"], stage["ranked"]]
        axes.barh(names, values, color=[*(CHANNEL for _ in channels), BASELINE, OURS, OURS], height=0.7)
        left = [share - part for share, part in zip(shares, alone, strict=True)]
        axes.barh(names[: len(channels)], alone, left=left, color=OURS, alpha=0.55, height=0.7)
        for place, value in enumerate(values):
            axes.text(value, place, f" {value:.3f}", va="center", fontsize=11)
        axes.set(title=f"among the first {cut}", xlim=(0, max(values) * 1.18))
        axes.grid(visible=False, axis="y")
    panels[0].invert_yaxis()
    figure.supxlabel("share of what was liked next; dark end: found by no other channel", fontsize=11)
    return figure


def slices(found: Found) -> Figure:
    """Kinds of users and films; bars with intervals, a panel a metric."""
    names = [name for name in found["systems"] if "channel" not in name and not name.endswith("recall")]
    figure = Figure(figsize=(14, 8), layout="constrained")
    panels: list[Axes] = list(figure.subplots(2, 1, sharex=True))
    width = 0.8 / len(names)
    shades = dict(zip(names, _shades(names), strict=True))
    for axes, metric in zip(panels, ("recall@200", "ndcg@50"), strict=True):
        for number, name in enumerate(names):
            parts = [found["slices"][name][part][metric] for part in SLICES]
            places = np.arange(len(SLICES)) + (number - (len(names) - 1) / 2) * width
            means, errors = _intervals(parts)
            axes.bar(places, means, width * 0.92, yerr=errors, color=shades[name], label=name, error_kw={"lw": 1})
        users = [found["slices"][names[0]][part][metric]["users"] for part in SLICES]
        labels = [f"{label}\n{count:,} users" for label, count in zip(SLICES.values(), users, strict=True)]
        axes.set(title=METRICS[metric], xticks=range(len(SLICES)), xticklabels=labels)
        axes.grid(visible=False, axis="x")
    panels[0].legend(frameon=False, ncols=len(names), loc="upper left", bbox_to_anchor=(0, 1.22))
    return figure


def live_events(found: Found) -> Figure:
    """Held-out event by event, how often the next liked film is among fifty; and strangers by number of events."""
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, row), shade in zip(found["replay"].items(), (OURS, CHANNEL, SOURCE, BASELINE), strict=True):
        hits = [np.nan if value is None else value for value in row["by event"]]
        left.plot(range(1, len(hits) + 1), hits, "o-", color=shade, label=name)
    left.set(title="the next liked film is among the fifty", xlabel="held-out event", ylim=(0, None))
    left.legend(frameon=False)
    means, errors = _intervals(list(found["strangers"].values()))
    right.errorbar(list(map(int, found["strangers"])), means, yerr=errors, fmt="o-", color=OURS, capsize=2)
    right.set(title="recall@50 of strangers", xlabel="events that the server was told", ylim=(0, None))
    return figure


def diversity(found: Found) -> Figure:
    """NDCG, and what is had for it, by the value of a request's ``diversity``; dashed: 1 % less, dotted: chosen."""
    rows = found["diversity"]
    values = [float(value) for value in rows]
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, 3))
    means, errors = _intervals([row["ndcg@50"] for row in rows.values()])
    panels[0].errorbar(values, means, yerr=errors, fmt="o-", color=OURS, capsize=2)
    panels[0].axhline(means[0] * (1 - COST), color="#333333", linestyle="--", linewidth=1)
    panels[0].set(title="NDCG@50", ylim=(0, None))
    for name, shade in (("diversity by vectors", OURS), ("diversity by genres", CHANNEL)):
        panels[1].plot(values, [row[name]["mean"] for row in rows.values()], "o-", color=shade, label=name)
    panels[1].set(title="how different the films of a list are")
    first = next(iter(rows.values()))
    for name, shade in (("coverage@50", OURS), ("novelty", CHANNEL), ("calibration error", SOURCE)):
        parts = [_mean(row[name]) / _mean(first[name]) for row in rows.values()]
        panels[2].plot(values, parts, "o-", color=shade, label=name)
    panels[2].set(title="as a share of what it is without")
    for axes in panels:
        axes.axvline(found["chosen"], color="#333333", linestyle=":", linewidth=1)
        axes.set_xlabel("diversity")
    for axes in panels[1:]:
        axes.legend(frameon=False)
    return figure


def _mean(value: Any) -> float:
    return float(value["mean"] if isinstance(value, Mapping) else value)


def _bars(axes: Axes, parts: Sequence[Found], colours: Sequence[str]) -> None:
    means, errors = _intervals(parts)
    axes.barh(range(len(parts)), means, xerr=errors, color=colours, height=0.7, error_kw={"lw": 1, "capsize": 2})
    for place, part in enumerate(parts):
        axes.text(part["high"], place, f"  {part['mean']:.3f}", va="center", fontsize=11)
    axes.set_xlim(0, max(part["high"] for part in parts) * 1.2)


def _intervals(parts: Sequence[Found]) -> tuple[list[float], list[list[float]]]:
    """Means, and how far below and above them the intervals reach; 0 for an empty slice."""
    means = [part["mean"] or 0.0 for part in parts]
    below = [mean - (part["low"] or 0.0) for mean, part in zip(means, parts, strict=True)]
    above = [(part["high"] or 0.0) - mean for mean, part in zip(means, parts, strict=True)]
    return means, [below, above]


def _shades(names: Sequence[str]) -> list[str]:
    greys = iter(("#c9ced4", "#9aa3ad", "#6b7480"))
    return [next(greys) if colour(name) == BASELINE else colour(name) for name in names]


def replayed(found: Found) -> Figure:
    """A panel an experiment: left that which must come out even, right that which must not."""
    figure = Figure(figsize=(14, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    for axes, each in zip(panels.flat, found["experiments"].values(), strict=True):
        over_time(axes, each)
    return figure


PICTURE: dict[str, tuple[str, Callable[[Found], Figure]]] = {
    "evaluation.png": ("evaluation.json", systems),
    "funnel.png": ("evaluation.json", funnel),
    "slices.png": ("evaluation.json", slices),
    "live_events.png": ("evaluation_live_events.json", live_events),
    "diversity.png": ("diversity.json", diversity),
    "experiments.png": ("experiments.json", replayed),
}


def main(_: Settings) -> None:
    with mpl.rc_context(STYLE):
        for picture, (figures, draw) in PICTURE.items():
            source = FIGURES / figures
            if not source.is_file():
                raise StepError(f"{source} is missing: run the command that measures it (see `make help`).")
            with written_in_place(PICTURES / picture) as temporary:
                drawn = draw(json.loads(source.read_text(encoding="utf-8")))
                drawn.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
            log.info("written: %s", PICTURES / picture)


if __name__ == "__main__":
    run(main)
