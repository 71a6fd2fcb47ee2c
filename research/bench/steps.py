"""Measure time and memory of every offline step, as a user runs it: ``make bench-offline``.

Each step runs in its own process, on a fresh exchange folder that is removed afterwards; steps that can run at the same
time do. Measured are wall-clock seconds, processor seconds, the share of the machine's cores that this is, each step's
peak resident memory, and the peak of what all processes held together, pages that they share counted once. For
comparison: the seconds of the source project, measured on another machine with two cores.

Writes: pic/figures/offline_bench.json; of another recipe than the default offline_bench_<recipe>.json
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from data_exchange_center import artifacts, provenance
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.step_runner import run_steps
from research.figure_files import FIGURES, named
from research.figures import costs
from research.reports import publish

SOURCE_SECONDS = {  # of the source's steps that were measured
    "offline/preprocess/s1_data_split.py": 16,
    "offline/preprocess/s2_term_trans.py": 43,
    "offline/recall/s2_vector_recall.py": 30,
    "offline/rank/s1_feature_engi.py": 112,
    "offline/rank/s2_model_train.py": 866,
}
TRAINING = tuple(step.path for step in (provenance.VECTOR_RECALL, provenance.FEATURES, provenance.RANKER))
EVERY_S: Final = 0.2  # between two looks at the memory


def report(settings: Settings) -> dict[str, Any]:
    """Steps, totals, data set and machine."""
    with tempfile.TemporaryDirectory() as folder:
        exchange_dir = Path(folder)
        with Watch(os.getpid()) as watch:
            steps = list(run_steps(settings, exchange_dir))
        return {
            "command": "make bench-offline",
            "dataset": artifacts.DATASET.read(exchange_dir)["name"],
            "recipe": settings.recipe.name,
            **cost(steps, os.cpu_count() or 1),
            "peak_mb": round(watch.peak_mb),
        }


class Watch:
    """Samples a process and its descendants inside a with block.

    Attributes:
        peak_mb: of the memory that they held together. It is proportional set size: a page that several share counts
            once.
    """

    def __init__(self, pid: int) -> None:
        self.peak_mb = 0.0
        self._root = psutil.Process(pid)
        self._cpu: dict[psutil.Process, float] = {}  # processor seconds when a process was last seen
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._looks, daemon=True)

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of all processes that were seen."""
        return sum(self._cpu.values())

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _looks(self) -> None:
        while not self._over.wait(EVERY_S):
            try:
                processes = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            self.peak_mb = max(self.peak_mb, sum(map(self._look, processes)))

    def _look(self, process: psutil.Process) -> float:
        """MB that a process holds; 0 where it has gone."""
        try:
            memory, used = process.memory_full_info(), process.cpu_times()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return 0.0
        self._cpu[process] = used.user + used.system
        return float(getattr(memory, "pss", memory.rss)) / 2**20  # Linux alone knows the former


def cost(steps: Sequence[Mapping[str, Any]], cores: int) -> dict[str, Any]:
    """Costs of the steps, each and all, in the order of the pipeline; ``steps``: as `run_steps` measured them."""
    first = min(step["began"] for step in steps)
    places = [step.path for step in provenance.STEPS]
    rows = [
        {
            **step,
            "began": round(step["began"] - first, 1),
            "share": round(step["cpu_seconds"] / max(step["seconds"] * cores, 0.1), 2),
            "source_seconds": SOURCE_SECONDS.get(step["step"]),
        }
        for step in sorted(steps, key=lambda step: places.index(step["step"]))
    ]
    seconds = _span(rows)
    return {
        "steps": rows,
        "seconds": seconds,
        "training_seconds": _span([row for row in rows if row["step"] in TRAINING]),
        "share": round(sum(row["cpu_seconds"] for row in rows) / (seconds * cores), 2),
        "source_seconds": sum(row["source_seconds"] or 0 for row in rows),
    }


def _span(rows: Sequence[Mapping[str, Any]]) -> float:
    """Seconds from the beginning of the first to the end of the last."""
    begin, end = min(row["began"] for row in rows), max(row["began"] + row["seconds"] for row in rows)
    return round(float(end - begin), 1)


def main(settings: Settings) -> None:
    found = report(settings)
    path = FIGURES / f"{named('offline_bench', settings.recipe.name)}.json"
    publish(path, found, costs.offline)


if __name__ == "__main__":
    run(main, about=__doc__)
