"""Draw pictures of the measurements. Each names in its metadata the digest of the file it is drawn from.

Run:    make evaluation-pictures  pic/{evaluation,funnel,slices,live_events}.png
        make serving-pictures     pic/shed.png
        make pictures             pic/training.png (loss by epoch, AUC where a model has one) and, where a model
                                  predicts a probability, pic/calibration.png; of another recipe <name>_<recipe>.png
Reads:  pic/figures/*.json; for the last the reports of the steps, which are kept in pic/figures/training.json
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from data_exchange_center import artifacts
from data_exchange_center.files import written_in_place
from data_exchange_center.recipes import DEFAULT
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.experiments.report import STYLE
from research.figure_files import FIGURES, named, write_figure
from research.figures.recommendations import METRICS, SLICES
from research.figures.tables import read
from research.reports import COLOURS, PICTURES, drawn_from, read_model_reports

log = logging.getLogger(__name__)

Found = Mapping[str, Any]
BASELINE, SOURCE, CHANNEL, OURS = "#9aa3ad", "#d1622b", "#7aa6d8", "#1f4e8c"


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
        labels = [f"{fill(label, 15)}\n{count:,} users" for label, count in zip(SLICES.values(), users, strict=True)]
        axes.set(title=METRICS[metric], xticks=range(len(SLICES)), xticklabels=labels)
        axes.grid(visible=False, axis="x")
    panels[0].legend(frameon=False, ncols=len(names), loc="upper left", bbox_to_anchor=(0, 1.22))
    return figure


def live_events(found: Found) -> Figure:
    """Held-out event by event, how often the next liked film is among fifty; and unknown users by number of events."""
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, row), shade in zip(found["replay"].items(), (OURS, CHANNEL, SOURCE, BASELINE), strict=True):
        hits = [np.nan if value is None else value for value in row["by event"]]
        left.plot(range(1, len(hits) + 1), hits, "o-", color=shade, label=name)
    left.set(title="the next liked film is among the fifty", xlabel="held-out event", ylim=(0, None))
    left.legend(frameon=False)
    means, errors = _intervals(list(found["unknown_users"].values()))
    right.errorbar(list(map(int, found["unknown_users"])), means, yerr=errors, fmt="o-", color=OURS, capsize=2)
    right.set(title="recall@50 of unknown users", xlabel="events that the server has", ylim=(0, None))
    return figure


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


# --- Benchmarks of the server


STAGE_COLOURS = {
    "redis": "#c0504d",
    "elasticsearch": "#e0a92e",
    "feast": "#6a9f58",
    "triton": "#7aa6d8",
    "own": "#1f4e8c",
    "server": "#1f4e8c",
    "http": "#9aa3ad",
}


def shed(figure: Found) -> Figure:
    """Goodput, share refused, and latency of accepted requests, by load."""
    points: list[dict[str, Any]] = figure["points"]
    loads = [point["factor"] for point in points]
    picture = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = picture.subplots(1, 2)
    left.plot(
        loads, [point["goodput"] for point in points], "o-", color=STAGE_COLOURS["own"], label="goodput, of the best"
    )
    left.plot(loads, [point["shed"] for point in points], "o-", color=STAGE_COLOURS["redis"], label="share refused")
    left.axhline(figure["goodput_at_least"], color=STAGE_COLOURS["http"], linestyle=":")
    left.set(ylim=(0, 1.1), title="What becomes of the requests")
    left.legend(frameon=False)
    right.plot(loads, [point["p99_ms"] for point in points], "o-", color=STAGE_COLOURS["own"], label="p99")
    right.plot(loads, [point["p50_ms"] for point in points], "o-", color=STAGE_COLOURS["triton"], label="p50")
    if "p99_ms_at_most" in figure:  # absent from older reports
        right.axhline(
            figure["p99_ms_at_most"], color=STAGE_COLOURS["http"], linestyle=":", label="the budget and a fifth"
        )
    right.set(ylim=(0, None), title="Accepted requests, ms")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set(xscale="log", xticks=loads, xlabel="requests, times the best rate")
        axes.set_xticks([], minor=True)
        axes.set_xticklabels([f"{load:g}" for load in loads])
    return picture


# --- The models' training


Reports = dict[str, dict[str, Any]]  # model -> its report


def training(reports: Reports) -> Figure:
    """Each model's loss by epoch on what it was trained on; and, of rated pairs, AUC on the validation rows.

    Losses of different models are not comparable: each has a panel of its own.
    """
    learned = {model: report for model, report in reports.items() if report["epochs"]}
    judged = {model: report for model, report in learned.items() if report["auc"]}
    figure = Figure(figsize=(5.5 * (len(learned) + bool(judged)), 4.8), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(learned) + bool(judged), squeeze=False)[0])
    for axes, (model, report) in zip(panels, learned.items(), strict=False):
        epochs = [epoch["epoch"] for epoch in report["epochs"]]
        axes.plot(epochs, [epoch["loss"] for epoch in report["epochs"]], "o-", color=_model_colour(model, reports))
        axes.set(title=f"{model}: loss", xlabel="epoch", ylabel="mean cross-entropy of the epoch")
    if judged:
        _auc_by_epoch(panels[-1], judged, reports)
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _auc_by_epoch(axes: Axes, judged: Reports, reports: Reports) -> None:
    for model, report in judged.items():
        colour, epochs = _model_colour(model, reports), report["epochs"]
        validation = [epoch["auc"]["validation"] for epoch in epochs]
        axes.plot([e["epoch"] for e in epochs], validation, "o-", color=colour, label=f"{model}, validation")
        test = report["auc"]["test"]
        if test is not None:
            axes.axhline(test, color=colour, linestyle="--", linewidth=1.2)
            axes.annotate(
                f"{model}, test {test:.4f}",
                (1, test),
                xycoords=("axes fraction", "data"),
                xytext=(0, 4),
                textcoords="offset points",
                ha="right",
                color=colour,
            )
    axes.set(title="AUC", xlabel="epoch", ylabel="area under the ROC curve")
    axes.legend(frameon=False, loc="best")


def calibration(reports: Reports) -> Figure:
    """Twenty equal groups of test rows by predicted probability: predicted against observed."""
    figure = Figure(figsize=(6.4, 6), layout="constrained")
    axes: Axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, label="perfectly calibrated")
    for model, report in reports.items():
        found = report.get("calibration")
        if found:
            label = f"{model}, log loss {found['log_loss']:.4f}"
            axes.plot(found["predicted"], found["observed"], "o-", color=_model_colour(model, reports), label=label)
    axes.set(
        title="Calibration on the test rows",
        xlabel="predicted probability of a click",
        ylabel="share of clicks observed",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(frameon=False, loc="upper left")
    return figure


def _model_colour(model: str, reports: Reports) -> str:
    return COLOURS[list(reports).index(model) % len(COLOURS)]


# --- The command

PICTURES_OF: dict[str, dict[str, tuple[str, Callable[[Any], Figure]]]] = {
    "evaluation": {
        "evaluation": ("evaluation.json", systems),
        "funnel": ("evaluation.json", funnel),
        "slices": ("evaluation.json", slices),
        "live_events": ("evaluation_live_events.json", live_events),
    },
    "serving": {"shed": ("shed.json", shed)},
}
SOURCES: dict[str, str] = {  # picture -> file that it is drawn from
    **{name: file for group in PICTURES_OF.values() for name, (file, _) in group.items()},
    "training": "training.json",
    "training_source": "training_source.json",
    "calibration_source": "training_source.json",
}


def outdated() -> list[str]:
    """Pictures whose figure file has changed since they were drawn."""
    return [
        name
        for name, file in SOURCES.items()
        if (FIGURES / file).is_file() and _source_of(PICTURES / f"{name}.png") != drawn_from(FIGURES / file)["Figure"]
    ]


def _source_of(picture: Path) -> str | None:
    with Image.open(picture) as opened:
        found: str | None = opened.info.get("Figure")
    return found


def save(name: str, file: str, drawn: Figure) -> None:
    with written_in_place(PICTURES / f"{name}.png", mode=0o644) as temporary:
        drawn.savefig(temporary, dpi=110, format="png", metadata=drawn_from(FIGURES / file))
    log.info("written: %s", PICTURES / f"{name}.png")


def main(settings: Settings, what: str) -> None:
    with mpl.rc_context(STYLE):
        if what == "training":
            draw_training(settings)
            return
        for name, (file, draw) in PICTURES_OF[what].items():
            if not (FIGURES / file).is_file():
                raise StepError(f"{FIGURES / file} is missing: run the command that measures it (see `make help`).")
            save(name, file, draw(read(file)))


def draw_training(settings: Settings) -> None:
    """Keep the reports of the steps as a figure, and draw it."""
    recipe, reports = settings.recipe.name, read_model_reports(settings.exchange_dir)
    file = f"{named('training', recipe)}.json"
    dataset = artifacts.DATASET.read(settings.exchange_dir)["name"]
    command = f"{'' if recipe == DEFAULT.name else f'RECSYS_RECIPE={recipe} '}make pictures"
    write_figure(FIGURES / file, {"command": command, "dataset": dataset, "recipe": recipe, "models": reports})
    save(named("training", recipe), file, training(reports))
    if any(report.get("calibration") for report in reports.values()):
        save(named("calibration", recipe), file, calibration(reports))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*PICTURES_OF, "training"))
    given = parser.parse_args()
    run(lambda settings: main(settings, given.what))
