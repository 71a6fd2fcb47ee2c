"""What Spark's own event log says of a run: the bytes that went from one worker to another, and those spilled.

Sources: Spark's monitoring guide, "Executor Task Metrics"; the log is one JSON object a line.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from offline.step_runner import ROOT

CONF: Final = ROOT / "past_one_machine/spark/conf"  # what a step's Spark is configured by otherwise


@dataclass(frozen=True)
class Shuffled:
    """Bytes written for other tasks to read, and bytes that did not fit into memory."""

    written: int
    spilled: int


def kept_in(folder: Path) -> dict[str, str]:
    """Variables that make a step's Spark keep its log in ``folder``/log."""
    conf = folder / "conf"
    shutil.copytree(CONF, conf)
    (folder / "log").mkdir()
    options = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": (folder / "log").as_uri(),
        "spark.eventLog.compress": "false",
    }
    (conf / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    return {"SPARK_CONF_DIR": str(conf)}


def shuffled(folder: Path) -> Shuffled:
    """Of all that `kept_in` this folder was kept; failed tasks, whose work was done again, are counted too."""
    written = spilled = 0
    for metrics in _tasks(folder / "log"):
        written += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
        spilled += metrics["Disk Bytes Spilled"]
    return Shuffled(written, spilled)


def _tasks(log: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(each for each in log.rglob("*") if each.is_file() and not each.name.startswith(".")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                if event["Event"] == "SparkListenerTaskEnd" and event.get("Task Metrics"):
                    yield event["Task Metrics"]
