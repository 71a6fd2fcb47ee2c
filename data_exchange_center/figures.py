"""Measured figures: their folder and names, the machine they were measured on, one look for all plots."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, Final

import psutil

from data_exchange_center.recipes import DEFAULT

PICTURES: Final = Path(__file__).resolve().parents[1] / "pic"
FIGURES: Final = PICTURES / "figures"
COLOURS: Final = ("#3b6fb6", "#d1622b", "#3a8f5c", "#8a5aa8", "#7a7a7a")
# matplotlib's rc parameters
STYLE: Any = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
}


def named(kind: str, recipe: str) -> str:
    """``kind`` for the default recipe, ``kind_recipe`` for another."""
    return kind if recipe == DEFAULT.name else f"{kind}_{recipe}"


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GB, system and Python, as stated by each measured figure."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
    }
