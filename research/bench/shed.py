"""What the server does with more than it can: open loop, from half of its best rate to ten times of it.

The best rate is what a closed loop of patient clients gets out of it. Then requests come at a fixed rate, whatever
becomes of those before them. Goodput is whole answers a second; what lacks a service is counted apart. An accepted
request's latency counts from the moment at which it was due. Those requests are as anybody sends them: with the
server's own budget, not strict.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet; the server, over HTTP
Writes  pic/figures/shed.json
Run     make bench-shed, with the services up, a release live, and the server running
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.settings import Settings
from research.bench.asking import Drawn, facts, known_userids, reaching, ready
from research.bench.generator import Answered, Generator, Run, Target, expect_all_good, generator
from research.bench.levels import percentile_ms

OUTPUT: Final = FIGURES / "shed.json"
CLOSED: Final = (4, 8, 16)  # in flight, of which the best counts
FACTORS: Final = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
KEEPS: Final = 0.8  # of the best rate, at the largest factor
SLOWS: Final = 2.0  # times the p99 at the best rate, of accepted requests
_WARM_UP: Final = 50


def best_rate(ask: Generator, url: str, drawn: Drawn, seconds: float) -> dict[str, float]:
    """The closed loop with the most answers a second, of clients who wait as long as a whole answer takes (strict).

    Raises StepError for an answer that is none.
    """
    target, found = Target(url), []
    for in_flight in CLOSED:
        warm = expect_all_good(target, ask.closed(target, drawn.next(_WARM_UP), in_flight))
        count = int(seconds * len(warm.answers) / warm.seconds) + in_flight
        run = expect_all_good(target, ask.closed(target, drawn.next(count), in_flight))
        rate = round(len(run.answers) / run.seconds, 1)
        found.append({"in_flight": in_flight, "requests_per_s": rate, "p99_ms": percentile_ms(run.answers, 99)})
    return max(found, key=lambda level: level["requests_per_s"])


def _whole(run: Run) -> list[Answered]:
    return [answer for answer in run.good if not answer.degraded]


def point(run: Run, factor: float, best: dict[str, float]) -> dict[str, Any]:
    """What became of requests at ``factor`` times the best rate."""
    whole = _whole(run)
    count = len(run.answers)
    shed = sum(answer.status == HTTPStatus.SERVICE_UNAVAILABLE for answer in run.answers)
    p99_ms = percentile_ms(run.good, 99) if run.good else None
    return {
        "factor": factor,
        "requests": count,
        "goodput": round(len(whole) / run.seconds / best["requests_per_s"], 3),
        "p50_ms": percentile_ms(run.good, 50) if run.good else None,
        "p99_ms": p99_ms,
        "p99_ratio": round(p99_ms / best["p99_ms"], 2) if p99_ms else None,
        "shed": round(shed / count, 3),
        "degraded": round((len(run.good) - len(whole)) / count, 3),
        "failed": count - len(run.good) - shed,
        "generator_cores": round(run.generator_s / run.seconds, 2),
    }


def verdict(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether the largest load leaves the server useful, and what it accepts fast."""
    last = points[-1]
    return {
        "goodput_at_least": KEEPS,
        "p99_ratio_at_most": SLOWS,
        "holds": last["goodput"] >= KEEPS and last["p99_ratio"] is not None and last["p99_ratio"] <= SLOWS,
    }


def table(points: Sequence[dict[str, Any]]) -> Table:
    shown = Table(box=box.SIMPLE, pad_edge=False)
    keys = ("factor", "goodput", "shed", "degraded", "failed", "p50_ms", "p99_ms", "p99_ratio", "generator_cores")
    for name in keys:
        shown.add_column(name, justify="right")
    for each in points:
        shown.add_row(*(str(each[key]) for key in keys))
    return shown


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.bench.shed", description="More than the server can do.")
    parser.add_argument("--url", default=settings.server.url, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=8.0, help="at each rate; default: %(default)s")
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS, help="of the best rate, ascending")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    target, drawn = Target(given.url, strict=None), Drawn(known_userids(settings), given.seed)
    with reaching(given.url):
        server = ready(given.url)
    points = []
    with generator() as ask:
        best = best_rate(ask, given.url, drawn, given.seconds)
        for factor in given.factors:
            per_s = factor * best["requests_per_s"]
            run = ask.fixed_rate(target, drawn.next(int(per_s * given.seconds)), per_s)
            points.append(point(run, factor, best))
            ask.closed(target, drawn.next(_WARM_UP), 1)  # what waited is through
    console = Console()
    console.print(f"best: {best['requests_per_s']}/s, {best['in_flight']} in flight, p99 {best['p99_ms']} ms")
    console.print(table(points))
    about = {"command": "make bench-shed", "recipe": server["recipe"]}
    measured = {"best": best, "points": points, **verdict(points)}
    write_json(given.output, {**about, **facts(settings, server["services"]), **measured})


if __name__ == "__main__":
    steps.run(main)
