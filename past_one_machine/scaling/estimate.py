"""What the measured lines say of data that nobody here has: each number with its formula.

Lines are drawn on at most 16 million events and read at hundreds of times as many: an order of magnitude, no promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from past_one_machine.scaling.lines import Line

TARGETS: Final = ((10_000_000, 1_000_000), (100_000_000, 10_000_000))  # users, items
MACHINE_CORES: Final = 16
MACHINE_GB: Final = 64
MACHINE_PER_HOUR: Final = 0.80  # US dollars: an assumption, of the size of what clouds ask on demand
WINDOW_HOURS: Final = 1.0  # in which a night's steps have to be over


@dataclass(frozen=True)
class Estimate:
    """One number, and how it is reckoned."""

    name: str
    formula: str
    value: float
    unit: str


def estimates(found: Mapping[str, Any], users: int) -> list[Estimate]:
    """Of the steps that run on Spark. ``found``: as `past_one_machine.scaling` writes it."""
    source = next(row for row in found["rows"] if row["factor"] == 1)
    of_spark = [each for each in found["lines"] if each["engine"] == "spark"]
    of_pandas = [each for each in found["lines"] if each["engine"] == "pandas" and _prepares(each, of_spark)]
    per_user = source["events"] / source["users"]
    events = users * per_user
    core_hours = sum(_at(each["cpu_seconds"], events) for each in of_spark) / 3600
    machines = max(1, math.ceil(core_hours / (MACHINE_CORES * WINDOW_HOURS)))
    shuffled = sum(_at(each["written"], events) for each in of_spark)
    peak_gb = max(_at(each["peak_mb"], events) for each in of_pandas) / 1024
    return [
        Estimate("events", "users x events of a user, as now", events, ""),
        Estimate("memory of one machine, with pandas", "the largest line of peak memory", peak_gb, "GB"),
        Estimate("processor hours, with Spark", "the sum of the lines of processor seconds", core_hours, "h"),
        Estimate("bytes shuffled", "the sum of the lines of bytes shuffled", shuffled / 2**30, "GB"),
        Estimate(
            f"machines of {MACHINE_CORES} cores and {MACHINE_GB} GB",
            f"processor hours / {MACHINE_CORES} cores / {WINDOW_HOURS:g} h",
            machines,
            "",
        ),
        Estimate(
            "a night's cost",
            f"machines x {WINDOW_HOURS:g} h x ${MACHINE_PER_HOUR:.2f} (assumed)",
            machines * WINDOW_HOURS * MACHINE_PER_HOUR,
            "$",
        ),
    ]


def _prepares(line: Mapping[str, Any], of_spark: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the step runs on both engines."""
    return line["step"] in {each["step"] for each in of_spark}


def _at(line: Mapping[str, Any], events: float) -> float:
    return Line(**line).at(events)
