"""Measure all offline steps on MovieLens in the layout of its newer editions: ``make bench-layouts``.

Archives of exactly the layouts of ml-latest-small, ml-20m, ml-25m and ml-32m are made of the data set that RECSYS_DATA
names (`research.movielens_csv`), as the editions themselves cannot be downloaded on closed machines: one of each with
the ratings of that data set, latest-small with its own number of users, and larger ones of expansions
(`make synthesise`). Rows are written as they are measured, and an interrupted run resumes.

Reads:  RECSYS_DATA: MovieLens-1M
Writes: pic/figures/layouts.json
Run:    python -m research.measure.layouts [--only ml-latest-small "ml-32m x 32"]
Expect: some minutes for a million ratings, an hour for 32 million
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline.step_runner import run_steps
from past_one_machine.synthesis import Factors, Source, expand
from research.bench.steps import Watch, cost
from research.figure_files import FIGURES, write_figure
from research.figures import costs
from research.movielens_csv import archive
from research.reports import resumed, show


class Layout(NamedTuple):
    """An archive to measure: ``factor`` times the source's ratings, or those of its first ``users``."""

    edition: str
    factor: int = 1
    users: int | None = None


LAYOUTS: Final = {
    "ml-latest-small": Layout("ml-latest-small", users=610),
    "ml-20m": Layout("ml-20m"),
    "ml-25m": Layout("ml-25m"),
    "ml-32m": Layout("ml-32m"),
    "ml-25m x 16": Layout("ml-25m", factor=16),
    "ml-32m x 32": Layout("ml-32m", factor=32),
}


def made(source: Path, layout: Layout, folder: Path) -> tuple[Path, int]:
    """Write the archive. Returns its path and its number of ratings."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        if layout.factor > 1:
            expanded = Path(temporary) / "expanded"
            expand(Source.of(source), Factors.of(layout.factor), expanded, f"{source.stem}-x{layout.factor}")
            source = expanded
        return archive(source, folder / "data", layout.edition, layout.users)


def measured(source: Path, layout: Layout) -> dict[str, Any]:
    """A row: what the archive holds, seconds of all steps, processor seconds, peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        # in a process of its own, whose memory is not counted as the steps'
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            packed, ratings = process.submit(made, source, layout, Path(folder)).result()
        exchange_dir = Path(folder) / "exchange"
        exchange_dir.mkdir()
        with Watch(os.getpid()) as watch:
            found = cost(list(run_steps(Settings(data=packed), exchange_dir)), os.cpu_count() or 1)
        counts = artifacts.DATASET.read(exchange_dir)["counts"]
        return {
            "edition": layout.edition,
            **counts,
            "ratings": ratings,
            "archive_mb": round(packed.stat().st_size / 1e6, 1),
            "seconds": found["seconds"],
            "cpu_seconds": round(sum(step["cpu_seconds"] for step in found["steps"])),
            "peak_mb": round(watch.peak_mb),
            "steps": [{name: step[name] for name in ("step", "seconds", "peak_rss_mb")} for step in found["steps"]],
        }


def main(settings: Settings, *, only: Sequence[str] = tuple(LAYOUTS)) -> None:
    if settings.data is None:
        raise StepError("Name the ratings that the archives are made of: RECSYS_DATA=ml-1m.zip make bench-layouts")
    path = FIGURES / "layouts.json"
    head = {"command": "make bench-layouts", "source": settings.data.name, "recipe": settings.recipe.name}
    found = resumed(path, head, {"layouts": {}})
    for name in only:
        if name not in found["layouts"]:
            found["layouts"][name] = measured(settings.data, LAYOUTS[name])
            write_figure(path, found, finished=False)
    write_figure(path, found, finished=set(LAYOUTS) <= set(found["layouts"]))
    show(found, costs.layouts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(LAYOUTS), default=tuple(LAYOUTS))
    run(partial(main, only=parser.parse_args().only))
