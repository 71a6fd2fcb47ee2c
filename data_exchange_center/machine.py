"""The machine: its description, which stands by each measured figure, and its free memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, Final

import psutil

CONTAINER_LIMITS: Final = (  # of control groups of version 2 and of version 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


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


def free_memory_gb() -> float:
    """GB (1e9 bytes) that can be had without swapping, and no more than a container may take as a whole."""
    limits = [path.read_text().strip() for path in CONTAINER_LIMITS if path.is_file()]
    allowed = [int(each) for each in limits if each.isdecimal()]  # "max": no limit
    return float(min([psutil.virtual_memory().available, *allowed]) / 1e9)
