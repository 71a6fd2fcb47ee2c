"""Draw the pictures of the figures: ``make pictures``.

Reads:  pic/figures/*.json, which the measurements write; with --training the reports of the steps, which are then kept
        in pic/figures/training.json
Writes: pic/{evaluation,live_events,shed}.png; with --training pic/training.png (loss by epoch) and, where
        a model predicts a probability, its AUC and pic/calibration.png; of another recipe <name>_<recipe>.png
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from data_exchange_center import artifacts
from data_exchange_center.files import written_in_place
from data_exchange_center.recipes import DEFAULT
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.trials.report import STYLE
from research import figures
from research.tables import read

log = logging.getLogger(__name__)

Found = Mapping[str, Any]
Reports = Mapping[str, Mapping[str, Any]]  # model -> its report
GREY, SOURCE, CHANNEL, OURS = "#9aa3ad", "#d1622b", "#7aa6d8", "#1f4e8c"
MODELS: Final = ("#3b6fb6", "#d1622b", "#3a8f5c", "#8a5aa8", "#7a7a7a")
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


def live_events(found: Found) -> Figure:
    """Held-out event by event, how often the next liked film is among fifty; and unknown users by number of events."""
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, row), shade in zip(
        found["replay"].items(), (OURS, CHANNEL, SOURCE, GREY), strict=True
    ):
        hits = [np.nan if value is None else value for value in row["by event"]]
        left.plot(range(1, len(hits) + 1), hits, "o-", color=shade, label=name)
    left.set(
        title="the next liked film is among the fifty",
        xlabel="held-out event",
        ylim=(0, None),
    )
    left.legend(frameon=False)
    means, errors = intervals(list(found["unknown_users"].values()))
    right.errorbar(
        list(map(int, found["unknown_users"])),
        means,
        yerr=errors,
        fmt="o-",
        color=OURS,
        capsize=2,
    )
    right.set(
        title="recall@50 of unknown users",
        xlabel="events that the server has",
        ylim=(0, None),
    )
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


# --- The models' training


def training(reports: Reports) -> Figure:
    """Each model's loss by epoch; and, of rated pairs, AUC on the validation rows.

    Losses of different models are not comparable: each has a panel of its own.
    """
    learned = {model: report for model, report in reports.items() if report["epochs"]}
    judged = {model: report for model, report in learned.items() if report["auc"]}
    shades = dict(zip(reports, MODELS, strict=False))
    count = len(learned) + bool(judged)
    figure = Figure(figsize=(5.5 * count, 4.8), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, count, squeeze=False)[0])
    for axes, (model, report) in zip(panels, learned.items(), strict=False):
        axes.plot(
            *by_epoch(report, lambda epoch: epoch["loss"]), "o-", color=shades[model]
        )
        axes.set(
            title=f"{model}: loss",
            xlabel="epoch",
            ylabel="mean cross-entropy of the epoch",
        )
    for model, report in judged.items():
        axes, test = panels[-1], report["auc"]["test"]
        validation = by_epoch(report, lambda epoch: epoch["auc"]["validation"])
        axes.plot(*validation, "o-", color=shades[model], label=f"{model}, validation")
        if test is not None:
            axes.axhline(
                test,
                color=shades[model],
                linestyle="--",
                linewidth=1.2,
                label=f"{model}, test {test:.4f}",
            )
        axes.set(title="AUC", xlabel="epoch", ylabel="area under the ROC curve")
        axes.legend(frameon=False, loc="best")
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def by_epoch(
    report: Mapping[str, Any], value: Callable[[Any], float]
) -> tuple[list[int], list[float]]:
    return [epoch["epoch"] for epoch in report["epochs"]], [
        value(epoch) for epoch in report["epochs"]
    ]


def calibration(reports: Reports) -> Figure:
    """Twenty equal groups of test rows by predicted probability: predicted against observed."""
    figure = Figure(figsize=(6.4, 6), layout="constrained")
    axes: Axes = figure.subplots()
    axes.plot(
        [0, 1], [0, 1], color="#888888", linewidth=1, label="perfectly calibrated"
    )
    for (model, report), shade in zip(reports.items(), MODELS, strict=False):
        if found := report.get("calibration"):
            label = f"{model}, log loss {found['log_loss']:.4f}"
            axes.plot(
                found["predicted"], found["observed"], "o-", color=shade, label=label
            )
    axes.set(
        title="Calibration on the test rows", xlim=(0, 1), ylim=(0, 1), aspect="equal"
    )
    axes.set(
        xlabel="predicted probability of a click", ylabel="share of clicks observed"
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(frameon=False, loc="upper left")
    return figure


def read_model_reports(exchange_dir: Path) -> dict[str, dict[str, Any]]:
    """Name of each channel, kind of the ranker -> its report. Raises ArtifactError when they are not trained."""
    rank = artifacts.RANK_REPORT.read(exchange_dir)
    return {
        **artifacts.RECALL_REPORT.read(exchange_dir)["channels"],
        rank["model"]["kind"]: rank,
    }


def keep_training(settings: Settings) -> None:
    """Keep the reports of the steps as a figure, and draw them."""
    recipe, reports = settings.recipe.name, read_model_reports(settings.exchange_dir)
    of_recipe = "" if recipe == DEFAULT.name else f"RECSYS_RECIPE={recipe} "
    found = figures.head(
        f"{of_recipe}make training-pictures", settings, settings.recipe
    )
    kept = figures.FIGURES / f"{figures.named('training', recipe)}.json"
    figures.write(kept, {**found, "models": reports})
    save(figures.named("training", recipe), training(reports))
    if any(report.get("calibration") for report in reports.values()):
        save(figures.named("calibration", recipe), calibration(reports))


# --- The command

DRAWN: Final[
    Mapping[str, tuple[str, Callable[[Found], Figure]]]
] = {  # picture -> its file, what draws it
    "evaluation": ("evaluation.json", systems),
    "live_events": ("evaluation_live_events.json", live_events),
    "shed": ("shed.json", shed),
}


def save(name: str, drawn: Figure) -> None:
    path = figures.PICTURES / f"{name}.png"
    with written_in_place(path, mode=0o644) as temporary:
        drawn.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
    log.info("written: %s", path)


def main(settings: Settings, *, of_training: bool) -> None:
    with mpl.rc_context(STYLE):
        if of_training:
            keep_training(settings)
            return
        for name, (file, draw) in DRAWN.items():
            if not (figures.FIGURES / file).is_file():
                raise StepError(
                    f"pic/figures/{file} is missing: run the command that measures it (make figures)."
                )
            save(name, draw(read(file)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--training",
        action="store_true",
        help="draw the training of the recipe's models",
    )
    given = parser.parse_args()
    run(partial(main, of_training=given.training))
