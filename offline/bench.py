"""How long every offline step takes and how much memory it needs, as a person runs it: ``make bench-offline``.

Each step is a process of its own, started in its own folder, in a fresh exchange folder that is removed afterwards.
What is measured: wall-clock seconds, processor seconds and peak resident memory. Beside it stand the seconds of the
project this one is faithful to, measured on a machine with two cores as well, though not on this one.

Writes: pic/figures/offline_bench.json; of another recipe than the default offline_bench_<recipe>.json
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_exchange_center import artifacts
from data_exchange_center.machine import machine
from data_exchange_center.settings import Settings, load_settings
from offline.figures import FIGURES, named

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
STEPS = (  # and the seconds of the source's step, where it has one that was measured
    ("offline/preprocess/s0_get_data.py", None),
    ("offline/preprocess/s1_data_split.py", 16),
    ("offline/preprocess/s2_term_trans.py", 43),
    ("offline/recall/s1_term_recall.py", None),
    ("offline/recall/s2_vector_recall.py", 30),
    ("offline/rank/s1_feature_engi.py", 112),
    ("offline/rank/s2_model_train.py", 866),
)


def measure(step: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run one step. Its seconds, its processor seconds and its peak memory in MB; exits when it fails."""
    path = ROOT / step
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, path.name], cwd=path.parent, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{step} failed with exit code {process.returncode}: nothing to measure.")
    return {
        "step": step,
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mb": round(usage.ru_maxrss / 1024),
    }


def run_all(settings: Settings, exchange_dir: Path) -> Iterator[dict[str, Any]]:
    """Every step in order, with the recipe and data of the settings: RECSYS_DATA, else what lies in their folder."""
    raw = settings.offline_dir / "raw"
    data = settings.data or (raw if artifacts.DATASET.at(settings.exchange_dir).is_file() else None)
    environment = {**os.environ, "RECSYS_EXCHANGE_DIR": str(exchange_dir), "RECSYS_RECIPE": settings.recipe_name}
    if data is not None:
        environment["RECSYS_DATA"] = str(data.absolute())
    for step, source_seconds in STEPS:
        log.info("%s", step)
        yield {**measure(step, environment), "source_seconds": source_seconds}


def report(settings: Settings) -> dict[str, Any]:
    """Steps, totals, AUC, data set and machine."""
    with tempfile.TemporaryDirectory() as folder:
        exchange_dir = Path(folder)
        steps = list(run_all(settings, exchange_dir))
        return {
            "command": "make bench-offline",
            "machine": machine(),
            "dataset": artifacts.DATASET.read(exchange_dir)["name"],
            "recipe": settings.recipe_name,
            "steps": steps,
            "seconds": round(sum(step["seconds"] for step in steps), 1),
            "source_seconds": sum(step["source_seconds"] or 0 for step in steps),
            "peak_rss_mb": max(step["peak_rss_mb"] for step in steps),
            "auc": {name: found["auc"] for name, found in trained(exchange_dir).items() if found["auc"]},
        }


def trained(exchange_dir: Path) -> dict[str, dict[str, Any]]:
    """Name of each channel, kind of the ranker -> its report. Raises ArtifactError when they are not trained."""
    rank = artifacts.RANK_REPORT.read(exchange_dir)
    return {**artifacts.RECALL_REPORT.read(exchange_dir)["channels"], rank["model"]["kind"]: rank}


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


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = load_settings()
    found = report(settings)
    path = FIGURES / f"{named('offline_bench', settings.recipe_name)}.json"
    artifacts.write_json(path, found)
    show(found, Console())
    log.info("written: %s", path)


if __name__ == "__main__":
    main()
