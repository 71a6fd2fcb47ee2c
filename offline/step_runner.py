"""Runs the offline steps as a user does: each in a process of its own, started in its own folder."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_exchange_center import artifacts, provenance
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]


def run_step(step: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run one step. Its seconds, its processor seconds and its peak memory in MB.

    Raises StepError when it fails.
    """
    path = ROOT / step
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, path.name], cwd=path.parent, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise StepError(f"{step} failed with exit code {process.returncode}: what it printed above says why.")
    return {
        "step": step,
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mb": round(usage.ru_maxrss / 1024),
    }


def run_steps(settings: Settings, exchange_dir: Path) -> Iterator[dict[str, Any]]:
    """All steps in order, into ``exchange_dir``, with the recipe and the data of the settings.

    The data is what RECSYS_DATA names, else what lies in the settings' own exchange folder.
    """
    raw = settings.offline_dir / "raw"
    data = settings.data or (raw if artifacts.DATASET.at(settings.exchange_dir).is_file() else None)
    environment = {**os.environ, "RECSYS_EXCHANGE_DIR": str(exchange_dir), "RECSYS_RECIPE": settings.recipe_name}
    if data is not None:
        environment["RECSYS_DATA"] = str(data.absolute())
    for step in provenance.STEPS:
        log.info("%s", step.path)
        yield run_step(step.path, environment)
