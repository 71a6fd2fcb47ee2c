"""How long every offline step takes and how much memory it needs, as a user runs it: ``make bench-offline``.

Each step runs in its own process, on a fresh exchange folder that is removed afterwards. Measured are wall-clock
seconds, processor seconds and peak resident memory. Beside them stand the seconds of the project that this one is
faithful to, measured on another machine with two cores.

Writes: pic/figures/offline_bench.json; of another recipe than the default offline_bench_<recipe>.json
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_exchange_center import artifacts
from data_exchange_center.figures import FIGURES, named
from data_exchange_center.files import write_json
from data_exchange_center.machine import machine
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.readers import read_model_reports
from offline.step_runner import run_steps

log = logging.getLogger(__name__)

SOURCE_SECONDS = {  # of the source's steps that were measured
    "offline/preprocess/s1_data_split.py": 16,
    "offline/preprocess/s2_term_trans.py": 43,
    "offline/recall/s2_vector_recall.py": 30,
    "offline/rank/s1_feature_engi.py": 112,
    "offline/rank/s2_model_train.py": 866,
}


def report(settings: Settings) -> dict[str, Any]:
    """Steps, totals, AUC, data set and machine."""
    with tempfile.TemporaryDirectory() as folder:
        exchange_dir = Path(folder)
        steps = [
            {**step, "source_seconds": SOURCE_SECONDS.get(step["step"])} for step in run_steps(settings, exchange_dir)
        ]
        return {
            "command": "make bench-offline",
            "machine": machine(),
            "dataset": artifacts.DATASET.read(exchange_dir)["name"],
            "recipe": settings.recipe_name,
            "steps": steps,
            "seconds": round(sum(step["seconds"] for step in steps), 1),
            "source_seconds": sum(step["source_seconds"] or 0 for step in steps),
            "peak_rss_mb": max(step["peak_rss_mb"] for step in steps),
            "auc": {name: found["auc"] for name, found in read_model_reports(exchange_dir).items() if found["auc"]},
        }


def show(found: dict[str, Any], console: Console) -> None:
    table = Table(title=f"offline steps on {found['dataset']}, {found['machine']['cores']} cores")
    for name in ("step", "seconds", "CPU s", "peak MB", "source's s"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in found["steps"]:
        source = step["source_seconds"]
        values = (step["seconds"], step["cpu_seconds"], step["peak_rss_mb"], "-" if source is None else source)
        table.add_row(step["step"], *map(str, values))
    table.add_section()
    table.add_row("all", str(found["seconds"]), "", str(found["peak_rss_mb"]), str(found["source_seconds"]))
    console.print(table)
    for model, parts in found["auc"].items():
        shown = (f"{part} {'-' if value is None else f'{value:.4f}'}" for part, value in parts.items())
        console.print(f"{model} AUC: " + ", ".join(shown))


def main(settings: Settings) -> None:
    found = report(settings)
    path = FIGURES / f"{named('offline_bench', settings.recipe_name)}.json"
    write_json(path, found)
    show(found, Console())
    log.info("written: %s", path)


if __name__ == "__main__":
    run(main)
