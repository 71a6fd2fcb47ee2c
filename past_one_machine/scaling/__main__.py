"""What the offline steps cost as the data grows, in both engines: ``make bench-scale``.

The data set at hand is expanded by each factor (`past_one_machine.synthesis`), and every step runs on it as a user
runs it, in a process of its own, with pandas and with Spark. Measured are seconds, processor seconds, the peak memory
of all its processes together and, of Spark, the bytes shuffled. Written when an engine is through with a size: a run
that was ended goes on from there.

Reads:  RECSYS_DATA, or what the first step has put into offline/raw
Writes: pic/figures/scale.json, pic/scale.png
Run:    make bench-scale [factors=1,4,16] [training_to=1]
Expect: a quarter of an hour on MovieLens-1M, without training; with it, five minutes more for each million ratings
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from data_exchange_center import artifacts, provenance
from data_exchange_center.figures import FIGURES, PICTURES
from data_exchange_center.files import parts_of, write_json
from data_exchange_center.machine import machine
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run, whole_numbers
from past_one_machine.scaling import spark_log
from past_one_machine.scaling.lines import line
from past_one_machine.scaling.pictures import draw
from past_one_machine.scaling.processes import cost_of
from past_one_machine.spark import TWINS
from past_one_machine.synthesis.__main__ import at_hand
from past_one_machine.synthesis.expansion import Factors, Source, expand

log = logging.getLogger(__name__)

OUTPUT: Final = FIGURES / "scale.json"
PICTURE: Final = PICTURES / "scale.png"
FACTORS: Final = (1, 4, 16)
ENGINES: Final = ("pandas", "spark")
PREPARING: Final = (provenance.GET_DATA, provenance.SPLIT, provenance.TERMS, provenance.TERM_RECALL)
TRAINING: Final = (provenance.VECTOR_RECALL, provenance.FEATURES, provenance.RANKER)  # measured with pandas
MEASURES: Final = ("seconds", "cpu_seconds", "peak_mb")
Row = dict[str, Any]


def opened(settings: Settings, path: Path) -> dict[str, Any]:
    """The report so far, if it is of this data, recipe and machine; else an empty one."""
    dataset = Source.of(at_hand(settings)).dataset.base_name
    head = {
        "command": "make bench-scale",
        "machine": machine(),
        "dataset": dataset,
        "recipe": settings.recipe.name,
    }
    if path.is_file():
        before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(before.get(name) == value for name, value in head.items()):
            return before
        log.warning("%s was measured on other data or on another machine: it is begun anew", path)
    return {**head, "rows": []}


def missing(rows: Sequence[Row], engine: str, factor: int, steps: Sequence[provenance.Step]) -> bool:
    """Whether a step of these was not measured yet."""
    known = {row["step"] for row in rows if (row["engine"], row["factor"]) == (engine, factor)}
    return not {step.path for step in steps} <= known


def measured(
    settings: Settings, data: Path, engine: str, steps: Sequence[provenance.Step], folder: Path
) -> Iterator[Row]:
    """One row a step, in order; ``folder``: empty, and the exchange folder of these steps."""
    environment = os.environ | {
        "RECSYS_EXCHANGE_DIR": str(folder),
        "RECSYS_DATA": str(data),
        "RECSYS_ENGINE": engine,
        "RECSYS_RECIPE": settings.recipe_name,
    }
    for step in steps:
        with tempfile.TemporaryDirectory() as kept:
            variables = spark_log.kept_in(Path(kept)) if engine == "spark" else {}
            cost = cost_of(TWINS.get(step.path, step.path) if engine == "spark" else step.path, environment | variables)
            shuffle = asdict(spark_log.shuffled(Path(kept))) if engine == "spark" else {}
        yield {"step": step.path, "engine": engine, **asdict(cost), **shuffle}


def sizes(folder: Path) -> dict[str, int]:
    """Events, users and items of the artifacts, from the Parquet files' own heads."""
    tables = {"events": artifacts.RATINGS, "users": artifacts.USERS, "items": artifacts.ITEMS}
    parts = {name: parts_of(table.require(folder)) for name, table in tables.items()}
    return {name: sum(pq.read_metadata(part).num_rows for part in each) for name, each in parts.items()}


def measure(settings: Settings, found: dict[str, Any], factor: int, training: bool, path: Path) -> None:
    """Add the rows of one factor to the report, each as soon as it is there."""
    steps = {engine: (*PREPARING, *(TRAINING if training and engine == "pandas" else ())) for engine in ENGINES}
    left = [engine for engine in ENGINES if missing(found["rows"], engine, factor, steps[engine])]
    if not left:
        return
    with tempfile.TemporaryDirectory(dir=_scratch(settings)) as scratch:
        data = at_hand(settings)
        if factor > 1:
            source, data = Source.of(data), Path(scratch) / "data"
            expand(source, Factors.of(factor), data, f"{found['dataset']}-x{factor}")
        for engine in left:
            found["rows"] = [row for row in found["rows"] if (row["engine"], row["factor"]) != (engine, factor)]
            folder = Path(scratch) / engine
            counted: dict[str, int] = {}
            for row in measured(settings, data, engine, steps[engine], folder):
                if row["step"] == provenance.SPLIT.path:
                    counted = sizes(folder)
                found["rows"].append({"factor": factor, **row})
                log.info("x %d, %s, %s: %.1f s, %.0f MB", factor, engine, row["step"], row["seconds"], row["peak_mb"])
            for row in found["rows"]:
                if (row["engine"], row["factor"]) == (engine, factor):
                    row |= counted
            found["lines"] = lines(found["rows"])
            write_json(path, found)


def lines(rows: Sequence[Row]) -> list[Row]:
    """Of each engine and step, a line through each measure over the events."""
    of: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        of[row["engine"], row["step"]].append(row)
    return [
        {
            "engine": engine,
            "step": step,
            **{
                name: line([row["events"] for row in each], [max(row[name], 1e-3) for row in each]).plain()
                for name in (*MEASURES, *(("written",) if "written" in each[0] else ()))
            },
        }
        for (engine, step), each in of.items()
    ]


def _scratch(settings: Settings) -> Path:
    """Beside the artifacts: /tmp may be memory."""
    folder = settings.offline_dir / "scaling"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def show(found: Mapping[str, Any], console: Console) -> None:
    """A line for each step, engine and factor."""
    table = Table(title=f"steps on expansions of {found['dataset']}, {found['machine']['cores']} cores")
    for name in ("step", "engine", "events", "seconds", "CPU s", "peak MB", "shuffled MB"):
        table.add_column(name, justify="left" if name in ("step", "engine") else "right")
    for row in sorted(found["rows"], key=lambda row: (row["step"], row["engine"], row["factor"])):
        shuffled = f"{row['written'] / 2**20:.1f}" if "written" in row else "-"
        values = (f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}", f"{row['peak_mb']:.0f}", shuffled)
        table.add_row(row["step"], row["engine"], f"{row['events']:,}", *values)
    console.print(table)


def main(settings: Settings, factors: Sequence[int], training_to: int) -> None:
    found = opened(settings, OUTPUT)
    for factor in factors:
        measure(settings, found, factor, factor <= training_to, OUTPUT)
    show(found, Console())
    log.info("written: %s", OUTPUT)
    if len({row["events"] for row in found["rows"]}) > 1:
        draw(found, PICTURE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factors", type=whole_numbers, default=FACTORS)
    parser.add_argument("--training-to", type=int, default=1, help="the largest factor that models are trained on")
    given = parser.parse_args()
    run(lambda settings: main(settings, given.factors, given.training_to))
