"""Two servers measured in turns: what each takes for a request, and how many times the other's that is."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from research.bench.generator import Answered, Generator, Run, Target
from research.bench.levels import percentile_ms, stage_medians_ms


@dataclass(frozen=True)
class Loading:
    """A level of load: so many requests in flight, or so many a second."""

    in_flight: int = 0
    per_s: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.in_flight} in flight" if self.in_flight else f"{self.per_s:g}/s"

    def ask(self, generator: Generator, target: Target, userids: Sequence[Any]) -> Run:
        if self.in_flight:
            return generator.closed(target, userids, self.in_flight)
        return generator.fixed_rate(target, userids, self.per_s)


@dataclass(frozen=True)
class Turn:
    """One server at one level, once."""

    run: Run
    used_s: Mapping[str, float]  # processor seconds of each part of its stack meanwhile

    @property
    def requests_per_s(self) -> float:
        return len(self.run.good) / self.run.seconds

    @property
    def p50_ms(self) -> float:
        return percentile_ms(self.run.good, 50)

    @property
    def processor_ms(self) -> float:
        """Processor milliseconds of all parts together, for an answered request."""
        return 1e3 * sum(self.used_s.values()) / len(self.run.good)


def summary(turns: Sequence[Turn]) -> dict[str, Any]:
    """Latencies over the answers of all turns together; processor time for each that was answered."""
    good: list[Answered] = [answer for turn in turns for answer in turn.run.good]
    requests = sum(len(turn.run.answers) for turn in turns)
    refused = sum(turn.run.refused for turn in turns)
    processor_ms = {
        part: round(1e3 * sum(turn.used_s[part] for turn in turns) / len(good), 2) for part in turns[0].used_s
    }
    return {
        "answered": len(good),
        "degraded": sum(turn.run.degraded for turn in turns),
        "refused": refused,
        "failed": requests - len(good) - refused,
        "requests_per_s": round(statistics.median(turn.requests_per_s for turn in turns), 1),
        "p50_ms": percentile_ms(good, 50),
        "p99_ms": percentile_ms(good, 99),
        "stage_p50_ms": stage_medians_ms(good),
        "processor_ms": {**processor_ms, "all": round(sum(processor_ms.values()), 2)},
        "generator_ms": round(1e3 * sum(turn.run.generator_s for turn in turns) / len(good), 3),
    }


def ratios(this: Sequence[Turn], other: Sequence[Turn]) -> dict[str, float]:
    """Ratio to the other side: the median over pairs of neighbouring turns, which background load hits alike.

    The 99th percentiles are those of all turns together.
    """
    pairs = list(zip(this, other, strict=True))

    def median(of: Callable[[Turn], float]) -> float:
        return round(statistics.median(of(mine) / of(theirs) for mine, theirs in pairs), 3)

    return {
        "requests_per_s": median(lambda turn: turn.requests_per_s),
        "p50_ms": median(lambda turn: turn.p50_ms),
        "processor_ms": median(lambda turn: turn.processor_ms),
        "p99_ms": round(summary(this)["p99_ms"] / summary(other)["p99_ms"], 3),
    }


def comparison(taken: Mapping[str, Mapping[str, Sequence[Turn]]]) -> list[dict[str, Any]]:
    """Both sides at each level, and the first's ratios to the second. ``taken``: side -> level -> its turns."""
    (this, of_this), (other, of_other) = taken.items()
    return [
        {
            "level": level,
            this: summary(turns),
            other: summary(of_other[level]),
            "ratio": ratios(turns, of_other[level]),
        }
        for level, turns in of_this.items()
    ]
