"""Measure what the offline steps cost as the data grows, in both engines: ``make bench-scale``.

The data set at hand is expanded by each factor (`past_one_machine.synthesis`), and every step runs on it as a user runs
it, in a process of its own, with pandas and with Spark. Measured are seconds, processor seconds, the peak memory of all
its processes together and, of Spark, the bytes shuffled. Training runs with pandas, on the data set itself and with as
many events on `ITEMS` times the items. Results are written after each engine and size, from where an interrupted run
resumes.

Reads:  RECSYS_DATA, or what the first step has put into offline/raw
Writes: pic/figures/scale.json, pic/scale.png
Run:    make bench-scale [factors=1,4,16] [training_to=1]
Expect: a quarter of an hour on MovieLens-1M, half of it for the larger catalogue; training_to=4: as long again
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import nnls

from data_exchange_center import artifacts, provenance
from data_exchange_center.files import parts_of
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.experiments.report import STYLE
from past_one_machine.spark import TWINS
from past_one_machine.synthesis import Factors, Source, at_hand, expand
from research.bench.steps import Watch
from research.figure_files import FIGURES, ROOT, write_figure
from research.figures import costs
from research.figures.pictures import save
from research.reports import COLOURS, publish, resumed, whole_numbers

log = logging.getLogger(__name__)

OUTPUT: Final = FIGURES / "scale.json"
FACTORS: Final = (1, 4, 16)
ITEMS: Final = 16  # times the catalogue, for training: more than a recipe's `sampled_beyond` and `low_rank_beyond`
ENGINES: Final = ("pandas", "spark")
PREPARING: Final = (provenance.GET_DATA, provenance.SPLIT, provenance.TERMS, provenance.TERM_RECALL)
TRAINING: Final = (provenance.VECTOR_RECALL, provenance.FEATURES, provenance.RANKER)  # measured with pandas
MEASURES: Final = ("seconds", "cpu_seconds", "peak_mb")
SPARK_CONF: Final = ROOT / "past_one_machine/spark/conf"  # default configuration of a step's Spark
DASHES: Final = {"pandas": "-", "spark": "--"}
PANELS: Final = {"seconds": "seconds", "peak_mb": "peak memory, MB"}
Row = dict[str, Any]


def main(settings: Settings, factors: Sequence[int], training_to: int) -> None:
    dataset = Source.of(at_hand(settings)).dataset.base_name
    head = {"command": "make bench-scale", "dataset": dataset, "recipe": settings.recipe.name}
    found = resumed(OUTPUT, head, {"rows": [], "lines": [], "catalogue": []})
    for factor in factors:
        measure(settings, found, factor, factor <= training_to)
    if training_to and 1 in factors and not found["catalogue"]:
        measure_catalogue(settings, found)
    publish(OUTPUT, found, costs.scale)
    if len({row["events"] for row in found["rows"]}) > 1:
        with mpl.rc_context(STYLE):
            save("scale", OUTPUT.name, picture(found))


def measure(settings: Settings, found: dict[str, Any], factor: int, training: bool) -> None:
    """Add the rows of one factor that are missing to the report, an engine at a time."""
    steps = {engine: (*PREPARING, *(TRAINING if training and engine == "pandas" else ())) for engine in ENGINES}
    known = {(row["engine"], row["step"]) for row in found["rows"] if row["factor"] == factor}
    left = [engine for engine in ENGINES if not {(engine, step.path) for step in steps[engine]} <= known]
    if not left:
        return
    with expanded(settings, Factors.of(factor) if factor > 1 else Factors(1, 1)) as data:
        for engine in left:
            rows = measured_in_turn(settings, data, engine, steps[engine])
            others = [row for row in found["rows"] if (row["engine"], row["factor"]) != (engine, factor)]
            found["rows"] = [*others, *({"factor": factor, **row} for row in rows)]
            found["lines"] = lines(found["rows"])
            write_figure(OUTPUT, found, finished=False)


def measure_catalogue(settings: Settings, found: dict[str, Any]) -> None:
    """Add the training steps on `ITEMS` times the catalogue, and a line of processor seconds over the items."""
    trained = {row["step"]: row for row in found["rows"] if row["engine"] == "pandas" and row["factor"] == 1}
    with expanded(settings, Factors(1, ITEMS)) as data:
        for row in measured_in_turn(settings, data, "pandas", (*PREPARING, *TRAINING)):
            if row["step"] in {step.path for step in TRAINING}:
                pair = (trained[row["step"]], row)
                of_items = line([each["items"] for each in pair], [each["cpu_seconds"] for each in pair])
                found["catalogue"].append({**row, "cpu_seconds_of_items": of_items})


@contextmanager
def expanded(settings: Settings, factors: Factors) -> Iterator[Path]:
    """The data set at hand, expanded, until the context ends."""
    folder = settings.offline_dir / "scaling"  # next to the artifacts: /tmp may be memory
    folder.mkdir(parents=True, exist_ok=True)
    data = at_hand(settings)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if factors != Factors(1, 1):
            source, data = Source.of(data), Path(scratch) / "data"
            expand(source, factors, data, f"{source.dataset.base_name}-x{factors.users}")
        yield data


def measured_in_turn(settings: Settings, data: Path, engine: str, steps: Sequence[provenance.Step]) -> list[Row]:
    """Run steps one after the other. Returns a row for each, with the sizes of the data."""
    rows = []
    with tempfile.TemporaryDirectory(dir=settings.offline_dir / "scaling") as exchange:
        for step in steps:
            rows.append(row := measured(settings, data, engine, step.path, Path(exchange)))
            log.info("%s, %s, %s: %.1f s, %.0f MB", data, engine, step.path, row["seconds"], row["peak_mb"])
        return [{**row, **sizes(Path(exchange))} for row in rows]


def measured(settings: Settings, data: Path, engine: str, step: str, folder: Path) -> Row:
    """Run a step; ``folder``: the exchange folder of this and the steps before."""
    environment = os.environ | {
        "RECSYS_EXCHANGE_DIR": str(folder),
        "RECSYS_DATA": str(data),
        "RECSYS_ENGINE": engine,
        "RECSYS_RECIPE": settings.recipe_name,
    }
    if engine == "pandas":
        return {"step": step, "engine": engine, **cost_of(step, environment)}
    with tempfile.TemporaryDirectory() as kept:
        cost = cost_of(TWINS.get(step, step), environment | spark_log(Path(kept)))
        return {"step": step, "engine": engine, **cost, **shuffled(Path(kept))}


def cost_of(step: str, environment: Mapping[str, str]) -> dict[str, float]:
    """Run one step to its end. Returns `MEASURES`. Raises StepError with the last lines of its output when it fails."""
    path = ROOT / step
    with tempfile.TemporaryFile("w+") as said:
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, path.name], cwd=path.parent, env=dict(environment), stdout=said, stderr=subprocess.STDOUT
        )
        with Watch(process.pid) as watch:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            last = "".join(said.readlines()[-10:])
            raise StepError(f"{step} failed with exit code {process.returncode}; its last lines:\n{last}")
    cpu_seconds = max(usage.ru_utime + usage.ru_stime, watch.cpu_seconds)
    return dict(zip(MEASURES, (round(seconds, 2), round(cpu_seconds, 2), round(watch.peak_mb, 1)), strict=True))


def sizes(folder: Path) -> dict[str, int]:
    """Events, users and items of the artifacts, from the Parquet files' metadata."""
    tables = {"events": artifacts.RATINGS, "users": artifacts.USERS, "items": artifacts.ITEMS}
    parts = {name: parts_of(table.require(folder)) for name, table in tables.items()}
    return {name: sum(pq.read_metadata(part).num_rows for part in each) for name, each in parts.items()}


# Spark's own event log, one JSON object a line; see Spark's monitoring guide, "Executor Task Metrics".


def spark_log(folder: Path) -> dict[str, str]:
    """Variables that make a step's Spark keep its log in ``folder``/log."""
    conf = folder / "conf"
    shutil.copytree(SPARK_CONF, conf)
    (folder / "log").mkdir()
    options = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": (folder / "log").as_uri(),
        "spark.eventLog.compress": "false",
    }
    (conf / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    return {"SPARK_CONF_DIR": str(conf)}


def shuffled(folder: Path) -> dict[str, int]:
    """Bytes written for other tasks to read, and bytes spilled from memory to disk, by Spark's event log.

    Failed tasks, whose work was done again, are counted too.
    """
    tasks = list(_tasks(folder / "log"))
    return {
        "written": sum(metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"] for metrics in tasks),
        "spilled": sum(metrics["Disk Bytes Spilled"] for metrics in tasks),
    }


def _tasks(folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and not each.name.startswith(".")):
        with path.open(encoding="utf-8") as events:
            for event_line in events:
                event = json.loads(event_line)
                if event["Event"] == "SparkListenerTaskEnd" and event.get("Task Metrics"):
                    yield event["Task Metrics"]


# Straight lines through what was measured: a fixed cost, and one for each event.


def line(events: Sequence[int], costs: Sequence[float]) -> dict[str, float]:
    """cost = ``fixed`` + ``each`` * events, neither below zero; ``off`` is the largest relative error.

    Least squares of *relative* distances: a small size counts as much as a large one.

    Args:
        events, costs: one measurement each, above zero.
    """
    sizes, found = np.asarray(events, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    (fixed, each), _ = nnls(np.stack([1 / found, sizes / found], axis=1), np.ones(len(found)))
    off = np.abs((fixed + each * sizes) / found - 1).max()
    return {"fixed": float(fixed), "each": float(each), "off": float(off)}


def lines(rows: Sequence[Row]) -> list[Row]:
    """Fit a line through each measure over the events, for each engine and step."""
    found = []
    for engine, step in dict.fromkeys((row["engine"], row["step"]) for row in rows):
        own = [row for row in rows if (row["engine"], row["step"]) == (engine, step)]
        events = [row["events"] for row in own]
        measures = [*MEASURES, "written"] if "written" in own[0] else MEASURES
        through = {name: line(events, [max(row[name], 1e-3) for row in own]) for name in measures}
        found.append({"engine": engine, "step": step, **through})
    return found


def picture(found: Mapping[str, Any]) -> Figure:
    """Draw the steps that were measured at several sizes, with every engine. ``found``: the report."""
    figure = Figure(figsize=(14, 5.2), layout="constrained")
    panels = list(figure.subplots(1, len(PANELS)))
    for axes, (measure, title) in zip(panels, PANELS.items(), strict=True):
        _panel(axes, found, measure)
        axes.set(title=title, xlabel="events", xscale="log", yscale="log")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=10)
    return figure


def _panel(axes: Axes, found: Mapping[str, Any], measure: str) -> None:
    sizes = sorted({row["events"] for row in found["rows"]})
    along = np.geomspace(sizes[0], sizes[-1], 50)
    steps: list[str] = []
    for each in found["lines"]:
        rows = [row for row in found["rows"] if (row["step"], row["engine"]) == (each["step"], each["engine"])]
        if len(rows) < 2:
            continue
        if each["step"] not in steps:
            steps.append(each["step"])
        colour, through = COLOURS[steps.index(each["step"]) % len(COLOURS)], each[measure]
        axes.plot([row["events"] for row in rows], [row[measure] for row in rows], "o", color=colour)
        label = f"{Path(each['step']).stem}, {each['engine']}"
        costs = through["fixed"] + through["each"] * along
        axes.plot(along, costs, DASHES[each["engine"]], color=colour, label=label)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factors", type=whole_numbers, default=FACTORS)
    parser.add_argument("--training-to", type=int, default=1, help="the largest factor that models are trained on")
    given = parser.parse_args()
    run(lambda settings: main(settings, given.factors, given.training_to))
