"""Measured figures: files of pic/figures that name the machine, the version, the commit and the date.

Figures belong to a release: `make figures` measures all of them before its tag, and again only those that another
version or another machine has measured.

Run:    python -m research.figures demo serving ...        prints those of these names that have to be measured
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from data_exchange_center import VERSION, artifacts
from data_exchange_center.files import write_json
from data_exchange_center.recipes import DEFAULT, Recipe
from data_exchange_center.settings import Settings
from extras.replay import Holdout
from offline import movielens

log = logging.getLogger(__name__)

ROOT: Final = Path(__file__).resolve().parents[1]
PICTURES: Final = ROOT / "pic"
FIGURES: Final = PICTURES / "figures"


# --- Where and when something was measured


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GB, system and Python."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    facts = {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    cpu = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in facts:  # in clouds one name stands for several models
        cpu += f" (family {facts['cpu family']}, model {facts['model']})"
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit that is checked out; empty where this is no checkout."""
    command = ("git", "rev-parse", "--short=12", "HEAD")
    return subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True
    ).stdout.strip()


# --- Files


def head(
    command: str, settings: Settings, recipe: Recipe, users: Holdout | None = None
) -> dict[str, Any]:
    """First fields of a figure: command, data set, recipe; with ``users``, how many of them have a target."""
    fields = {
        "command": command,
        "dataset": artifacts.DATASET.read(settings.artifacts_dir)["name"],
        "recipe": recipe.name,
    }
    if users is not None:
        fields["users"] = int(np.count_nonzero(np.diff(users.relevance.indptr)))
    return fields


def named(kind: str, recipe: str) -> str:
    """``kind`` for the default recipe, ``kind_recipe`` for another."""
    return kind if recipe == DEFAULT.name else f"{kind}_{recipe}"


def path_of(
    found: Mapping[str, Any], settings: Settings, kind: str, *, part: bool = False
) -> Path:
    """Where a figure is written: in `FIGURES`, named by recipe and data set unless those are the default's.

    With the artifacts, if the data set is not published or this is only ``part`` of a study.
    """
    name, dataset = named(kind, found["recipe"]), found["dataset"]
    if part or dataset not in movielens.SETS.values():
        return settings.offline_dir / "evaluation" / f"{name}_{dataset}.json"
    return FIGURES / (
        f"{name}.json" if dataset == movielens.ML_1M else f"{name}_{dataset}.json"
    )


def write(path: Path, found: Mapping[str, Any], *, finished: bool = True) -> None:
    """Write a figure. ``finished``: False while its command still measures."""
    measured: dict[str, Any] = {
        "version": VERSION,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    if not finished:
        measured["finished"] = False
    write_json(path, {**found, "machine": machine(), "measured": measured})
    if finished:
        log.info("written: %s", path)


def is_finished(figure: Mapping[str, Any]) -> bool:
    """Whether a command has measured all of a figure; False where it has measured nothing."""
    measured = figure.get("measured", {})
    return bool(measured.get("finished", bool(measured)))


def resumed(
    path: Path, fields: Mapping[str, Any], empty: Mapping[str, Any]
) -> dict[str, Any]:
    """``fields``, and the parts that an interrupted run of the same commit, on the same machine, has measured.

    Args:
        empty: name -> value of each part before anything is measured.
    """
    found = {**fields, **deepcopy(dict(empty))}
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not before or is_finished(before):
        return found
    if (
        fields.items() <= before.items()
        and before["measured"]["commit"] == commit()
        and before["machine"] == machine()
    ):
        return found | {name: before[name] for name in empty if name in before}
    log.warning(
        "%s is begun again: it is of another commit, machine, data set or request", path
    )
    return found


def unmeasured(names: Iterable[str], *, anywhere: bool = False) -> list[str]:
    """Names whose file is not finished, or not of this version and machine. ``anywhere``: of any machine."""
    found = []
    for name in names:
        path = FIGURES / f"{name}.json"
        figure = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        of_version = is_finished(figure) and figure["measured"]["version"] == VERSION
        if not of_version or not (anywhere or figure["machine"] == machine()):
            found.append(name)
    return found


# --- In the terminal


def show(
    rows: Mapping[str, Mapping[str, Any]] | Sequence[Mapping[str, Any]], title: str = ""
) -> None:
    """Print rows of a figure as a table: their numbers and words, without what is nested."""
    named_rows = (
        rows
        if isinstance(rows, Mapping)
        else {str(number): row for number, row in enumerate(rows)}
    )
    columns: dict[str, None] = {}
    for row in named_rows.values():
        columns |= {
            name: None
            for name, value in row.items()
            if not isinstance(value, (dict, list))
        }
    shown = Table("", *columns, title=title)
    for name, row in named_rows.items():
        shown.add_row(name, *(_cell(row.get(column)) for column in columns))
    Console(width=max(Console().width, 140)).print(shown)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """Round to four significant digits; NaN and infinities, which JSON lacks, become null."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return plain(value)
        if isinstance(value, (list, tuple)):
            return [of(part) for part in value]
        if isinstance(value, float):
            return float(f"{value:.4g}") if math.isfinite(value) else None
        return value

    return {key: of(value) for key, value in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+")
    parser.add_argument(
        "--anywhere",
        action="store_true",
        help="measured by this version on any machine",
    )
    given = parser.parse_args()
    print(" ".join(unmeasured(given.names, anywhere=given.anywhere)))  # noqa: T201
