"""Measurements at one level of load: a number of requests in flight, or a rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table

from research.bench.generator import Answered, Run

STAGES = ("redis", "elasticsearch", "feast", "triton", "total")


@dataclass(frozen=True)
class Level:
    """Measurements at one concurrency."""

    concurrency: int
    requests: int
    answered: int  # with a list, whole or not
    degraded: int  # of those
    refused: int  # 503
    requests_per_s: float  # answered; so are the times
    p50_ms: float
    p99_ms: float
    stage_p50_ms: dict[str, float]


def percentile_ms(answers: Sequence[Answered], percent: float) -> float:
    """Percentile of the answers' latency, in milliseconds."""
    return round(float(np.percentile([answer.seconds for answer in answers], percent)) * 1e3, 2)


def stage_medians_ms(answers: Sequence[Answered]) -> dict[str, float]:
    """Median milliseconds of the server's stages, which overlap."""
    timed = [answer.took_ms for answer in answers if answer.took_ms]
    return {
        stage: round(float(np.median([took[stage] for took in timed if stage in took])), 2)
        for stage in STAGES
        if any(stage in took for took in timed)
    }


def summarise(concurrency: int, run: Run) -> Level:
    """Medians and the 99th percentile over what was answered at a level."""
    good = run.good
    return Level(
        concurrency=concurrency,
        requests=len(run.answers),
        answered=len(good),
        degraded=run.degraded,
        refused=run.refused,
        requests_per_s=round(len(good) / run.seconds, 1),
        p50_ms=percentile_ms(good, 50),
        p99_ms=percentile_ms(good, 99),
        stage_p50_ms=stage_medians_ms(good),
    )


def table(levels: Sequence[Level]) -> Table:
    """Times in ms; the stages' are the server's medians, and overlap."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("in flight", "answered", "degraded", "refused", "requests/s", "p50", "p99", *STAGES):
        shown.add_column(name, justify="right", overflow="fold")
    for level in levels:
        stages = (f"{level.stage_p50_ms.get(stage, float('nan')):.1f}" for stage in STAGES)
        figures = (f"{level.requests_per_s:.1f}", f"{level.p50_ms:.1f}", f"{level.p99_ms:.1f}")
        counts = (level.concurrency, level.answered, level.degraded, level.refused)
        shown.add_row(*map(str, counts), *figures, *stages)
    return shown
