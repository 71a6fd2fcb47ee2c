"""What was measured at one level of load: a number of requests in flight, or a rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table

from research.bench.generator import Answered

STAGES = ("redis", "elasticsearch", "feast", "triton", "total")


@dataclass(frozen=True)
class Level:
    """What was measured at one concurrency."""

    concurrency: int
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    stage_p50_ms: dict[str, float]


def percentile_ms(answers: Sequence[Answered], percent: float) -> float:
    """Of the answers' latency."""
    return round(float(np.percentile([answer.seconds for answer in answers], percent)) * 1e3, 2)


def stage_medians_ms(answers: Sequence[Answered]) -> dict[str, float]:
    """What the server says of its stages, which overlap."""
    told = [answer.took_ms for answer in answers if answer.took_ms]
    return {
        stage: round(float(np.median([took[stage] for took in told if stage in took])), 2)
        for stage in STAGES
        if any(stage in took for took in told)
    }


def summarise(concurrency: int, seconds: float, answers: Sequence[Answered]) -> Level:
    """Medians and the 99th percentile over all answers of a level."""
    return Level(
        concurrency=concurrency,
        requests=len(answers),
        requests_per_s=round(len(answers) / seconds, 1),
        p50_ms=percentile_ms(answers, 50),
        p99_ms=percentile_ms(answers, 99),
        stage_p50_ms=stage_medians_ms(answers),
    )


def table(levels: Sequence[Level]) -> Table:
    """Times in ms; the stages' are the server's medians, and overlap."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("in flight", "requests/s", "p50", "p99", *STAGES):
        shown.add_column(name, justify="right")
    for level in levels:
        stages = (f"{level.stage_p50_ms.get(stage, float('nan')):.1f}" for stage in STAGES)
        figures = (f"{level.requests_per_s:.1f}", f"{level.p50_ms:.1f}", f"{level.p99_ms:.1f}")
        shown.add_row(str(level.concurrency), *figures, *stages)
    return shown
