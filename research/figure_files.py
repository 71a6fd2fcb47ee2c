"""Measured figures: their folder and names, and what dates them: version, commit, date and machine.

Figures belong to a release: all are measured once before its tag, by `make figures` (see `research.release`).
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from data_exchange_center import VERSION
from data_exchange_center.files import write_json
from data_exchange_center.recipes import DEFAULT

ROOT: Final = Path(__file__).resolve().parents[1]
FIGURES: Final = ROOT / "pic" / "figures"


def named(kind: str, recipe: str) -> str:
    """``kind`` for the default recipe, ``kind_recipe`` for another."""
    return kind if recipe == DEFAULT.name else f"{kind}_{recipe}"


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GB, system and Python, as stated by each measured figure."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.processor() or platform.machine()
    # In clouds the name is often that of a whole family; the numbers tell its models apart.
    numbers = ", ".join(
        f"{part} {facts[key]}" for part, key in (("family", "cpu family"), ("model", "model")) if key in facts
    )
    return {
        "cpu": f"{name} ({numbers})" if numbers else name,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def is_finished(figure: Mapping[str, Any]) -> bool:
    """Whether a command has measured all of a figure; False where it has measured nothing."""
    measured = figure.get("measured", {})
    return bool(measured.get("finished", bool(measured)))


def write_figure(path: Path, content: Mapping[str, Any], *, finished: bool = True) -> None:
    """Write a measurement with the machine, version, commit and date.

    Args:
        finished: False for intermediate results, while the command still measures.
    """
    measured = {"version": VERSION, "commit": commit(), "date": datetime.now(UTC).date().isoformat()}
    state = {} if finished else {"finished": False}
    write_json(path, {**content, "machine": machine(), "measured": {**measured, **state}})


def commit() -> str:
    """The commit that is checked out here; empty where this is no checkout."""
    command = ("git", "rev-parse", "--short=12", "HEAD")
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()
