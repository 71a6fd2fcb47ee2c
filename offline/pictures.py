"""Pictures of the two models' training, drawn from the reports of the steps: ``make pictures``.

Reads:  offline/fm_report.json, offline/deepfm_report.json
Writes: pic/training.png (loss and AUC by epoch), pic/calibration.png (predicted against observed click rate)
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError, written_in_place
from data_exchange_center.settings import load_settings

log = logging.getLogger(__name__)

PICTURES = Path(__file__).resolve().parents[1] / "pic"
COLOURS = {"FM": "#3b6fb6", "DeepFM": "#d1622b"}
STYLE: Any = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
}
Reports = dict[str, dict[str, Any]]  # model -> its report


def training(reports: Reports) -> Figure:
    """Loss on the rows trained on and AUC on the validation rows by epoch, of the run that sets those aside."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    loss, auc = figure.subplots(1, 2)
    for model, report in reports.items():
        epochs = [epoch["epoch"] for epoch in report["epochs"]]
        loss.plot(epochs, [e["loss"] for e in report["epochs"]], "o-", color=COLOURS[model], label=model)
        validation = [e["auc"]["validation"] for e in report["epochs"]]
        auc.plot(epochs, validation, "o-", color=COLOURS[model], label=f"{model}, validation")
        test = report["auc"]["test"]
        if test is not None:
            auc.axhline(test, color=COLOURS[model], linestyle="--", linewidth=1.2)
            auc.annotate(
                f"{model}, test {test:.4f}",
                (1, test),
                xycoords=("axes fraction", "data"),
                xytext=(0, 4),
                textcoords="offset points",
                ha="right",
                color=COLOURS[model],
            )
    loss.set(title="Cross-entropy on the training rows", xlabel="epoch", ylabel="mean loss of the epoch")
    auc.set(title="AUC", xlabel="epoch", ylabel="area under the ROC curve")
    for axes in (loss, auc):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, loc="best")
    return figure


def calibration(reports: Reports) -> Figure:
    """Twenty equal groups of test rows by predicted probability: what was predicted and what came of it."""
    figure = Figure(figsize=(6.4, 6), layout="constrained")
    axes: Axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, label="perfectly calibrated")
    for model, report in reports.items():
        found = report["calibration"]
        if found:
            label = f"{model}, log loss {found['log_loss']:.4f}"
            axes.plot(found["predicted"], found["observed"], "o-", color=COLOURS[model], label=label)
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


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = load_settings().exchange_dir
    try:
        reports = {"FM": artifacts.FM_REPORT.read(folder), "DeepFM": artifacts.RANK_REPORT.read(folder)}
    except ArtifactError as error:
        sys.exit(str(error))
    with mpl.rc_context(STYLE):
        for name, draw in (("training.png", training), ("calibration.png", calibration)):
            with written_in_place(PICTURES / name) as temporary:
                draw(reports).savefig(temporary, dpi=130, format="png", metadata={"Software": None})
            log.info("written: %s", PICTURES / name)


if __name__ == "__main__":
    main()
