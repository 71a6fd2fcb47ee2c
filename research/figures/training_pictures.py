"""Pictures of the models' training, drawn from the reports of the steps: ``make pictures``.

Reads:  offline/recall_report.json, offline/ranker_report.json
Writes: pic/training.png (loss by epoch, AUC where a model has one), pic/calibration.png (predicted against observed
        click rate, where a model predicts one); of another recipe than the default <name>_<recipe>.png
"""

from __future__ import annotations

import logging
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from data_exchange_center.figures import COLOURS, PICTURES, STYLE, named
from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.readers import read_model_reports

log = logging.getLogger(__name__)

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
        axes.plot(epochs, [epoch["loss"] for epoch in report["epochs"]], "o-", color=_colour(model, reports))
        axes.set(title=f"{model}: loss", xlabel="epoch", ylabel="mean cross-entropy of the epoch")
    if judged:
        _auc(panels[-1], judged, reports)
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _auc(axes: Axes, judged: Reports, reports: Reports) -> None:
    for model, report in judged.items():
        colour, epochs = _colour(model, reports), report["epochs"]
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
    """Twenty equal groups of test rows by predicted probability: what was predicted and what came of it."""
    figure = Figure(figsize=(6.4, 6), layout="constrained")
    axes: Axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, label="perfectly calibrated")
    for model, report in reports.items():
        found = report.get("calibration")
        if found:
            label = f"{model}, log loss {found['log_loss']:.4f}"
            axes.plot(found["predicted"], found["observed"], "o-", color=_colour(model, reports), label=label)
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


def _colour(model: str, reports: Reports) -> str:
    return COLOURS[list(reports).index(model) % len(COLOURS)]


def main(settings: Settings) -> None:
    reports = read_model_reports(settings.exchange_dir)
    drawings = {"training": training}
    if any(report.get("calibration") for report in reports.values()):
        drawings["calibration"] = calibration
    with mpl.rc_context(STYLE):
        for name, draw in drawings.items():
            path = PICTURES / f"{named(name, settings.recipe.name)}.png"
            with written_in_place(path) as temporary:
                draw(reports).savefig(temporary, dpi=130, format="png", metadata={"Software": None})
            log.info("written: %s", path)


if __name__ == "__main__":
    run(main)
