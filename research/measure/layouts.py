"""Measure all offline steps on MovieLens in the layout of its newer editions: ``make bench-layouts``.

Archives of exactly the layouts of ml-latest-small, ml-20m, ml-25m and ml-32m are made of the data set that RECSYS_DATA
names (`research.movielens_csv`), as the editions themselves cannot be downloaded on closed machines: MovieLens-1M, or
an expansion of it (`make synthesise`). latest-small has its number of users, the others have all. Rows are written as
they are measured, and an interrupted run resumes.

Reads:  RECSYS_DATA: MovieLens, or an expansion
Writes: pic/figures/layouts.json
Run:    python -m research.measure.layouts [--editions ml-latest-small ml-25m]
Expect: some minutes an edition of a million ratings
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline.step_runner import run_steps
from research.bench.steps import Watch, cost
from research.figure_files import FIGURES, write_figure
from research.figures import costs
from research.movielens_csv import EDITIONS, archive
from research.reports import resumed, show

USERS: Final = {"ml-latest-small": 610}  # the others have all users of the source


def measured(source: Path, edition: str) -> dict[str, Any]:
    """A row: what the archive holds, seconds of all steps, processor seconds, peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        packed, ratings = archive(source, Path(folder) / "data", edition, USERS.get(edition))
        exchange_dir = Path(folder) / "exchange"
        exchange_dir.mkdir()
        with Watch(os.getpid()) as watch:
            found = cost(list(run_steps(Settings(data=packed), exchange_dir)), os.cpu_count() or 1)
        counts = artifacts.DATASET.read(exchange_dir)["counts"]
        return {
            **counts,
            "ratings": ratings,
            "archive_mb": round(packed.stat().st_size / 1e6, 1),
            "seconds": found["seconds"],
            "cpu_seconds": round(sum(step["cpu_seconds"] for step in found["steps"])),
            "peak_mb": round(watch.peak_mb),
            "peak_step_mb": {step["step"]: step["peak_rss_mb"] for step in found["steps"]},
        }


def main(settings: Settings, *, editions: Sequence[str] = tuple(EDITIONS)) -> None:
    if settings.data is None:
        raise StepError("Name the ratings that the archives are made of: RECSYS_DATA=ml-1m.zip make bench-layouts")
    path = FIGURES / "layouts.json"
    head = {"command": "make bench-layouts", "source": settings.data.name, "recipe": settings.recipe.name}
    found = resumed(path, head, {"editions": {}})
    for edition in editions:
        if edition not in found["editions"]:
            found["editions"][edition] = measured(settings.data, edition)
            write_figure(path, found, finished=False)
    write_figure(path, found, finished=set(EDITIONS) <= set(found["editions"]))
    show(found, costs.layouts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--editions", nargs="+", choices=list(EDITIONS), default=tuple(EDITIONS))
    run(partial(main, editions=parser.parse_args().editions))
