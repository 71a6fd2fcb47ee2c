"""Whether processes grow: samples of what each uses over a long run, and the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from research.bench.processes import Part, Use

AT_MOST: Final = 1.05  # times what it was after the warm-up
_WINDOW: Final = 0.2  # of the samples after the warm-up: the first ones are held against the last ones


@dataclass(frozen=True)
class Sample:
    """Resources of every process at one moment."""

    at_s: float  # since the run began
    uses: Mapping[str, Use]  # "<part> <number>" -> what it uses


def sample(parts: Mapping[str, Part], at_s: float) -> Sample:
    """Raises StepError when a process has ended."""
    named = {
        f"{name} {number}": use
        for name, part in parts.items()
        for number, use in enumerate(part.use().values(), start=1)
    }
    return Sample(at_s, named)


def growth(samples: Sequence[Sample], warm_up_s: float) -> list[dict[str, Any]]:
    """Medians of each process's first samples after the warm-up, and of its last ones."""
    counted = [each for each in samples if each.at_s >= warm_up_s]
    window = max(1, round(_WINDOW * len(counted)))
    first, last = counted[:window], counted[-window:]

    def rss_mb(of: Sequence[Sample], process: str) -> float:
        return statistics.median(each.uses[process].rss_mb for each in of)

    return [
        {
            "process": process,
            "rss_mb": round(rss_mb(first, process), 1),
            "rss_mb_at_end": round(rss_mb(last, process), 1),
            "times": round(rss_mb(last, process) / rss_mb(first, process), 3),
            "threads": first[0].uses[process].threads,
            "threads_at_most": max(each.uses[process].threads for each in counted),
            "open_files_at_most": max(each.uses[process].open_files for each in counted),
        }
        for process in counted[0].uses
    ]


def grown(processes: Sequence[Mapping[str, Any]], at_most: float = AT_MOST) -> list[str]:
    """A sentence for each process that has grown too much."""
    return [
        f"{each['process']} has grown from {each['rss_mb']:.1f} MB to {each['rss_mb_at_end']:.1f} MB"
        for each in processes
        if each["times"] > at_most
    ]
