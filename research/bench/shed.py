"""Overload benchmark: open loop, from half of the server's best rate to ten times of it, in several rounds.

The best rate is the most whole answers a second that a closed loop gets, by the median of its rounds. Then requests
come at a fixed rate, whether earlier ones are answered or not. Goodput is whole answers a second; degraded ones are
counted apart. An accepted request's latency counts from the moment at which it was due. All requests are plain ones:
with the server's own budget, not strict.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet; the server, over HTTP
Writes  pic/figures/shed.json
Run     make bench-shed, with the services up, a release live, and the server running
"""

from __future__ import annotations

import argparse
import logging
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from research import figures
from research.bench.load import (
    Answered,
    Ask,
    Drawn,
    Loading,
    Run,
    expect_answers,
    generator,
    in_turns,
    known_userids,
    percentile_ms,
    ready,
    report,
)

log = logging.getLogger(__name__)

OUTPUT: Final = figures.FIGURES / "shed.json"
CLOSED: Final = (4, 16, 64)  # in flight, of which the best counts
FACTORS: Final = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
JUDGED: Final = 1.5  # times the best rate
KEEPS: Final = 0.9  # of the best rate
SLOWS: Final = 1.2  # times a request's budget, at most: p99 of what is answered
_WARM_UP: Final = 50


def best_rate(
    ask: Ask, url: str, drawn: Drawn, seconds: float, rounds: int
) -> dict[str, Any]:
    """The closed loop with the most whole answers a second. Raises StepError where too few are answered."""
    runs: dict[int, list[Run]] = {in_flight: [] for in_flight in CLOSED}
    for _ in range(rounds):
        for in_flight, taken in runs.items():
            warm = expect_answers(
                url, ask(url, drawn.next(_WARM_UP), Loading(in_flight))
            )
            count = int(seconds * len(warm.answers) / warm.seconds) + in_flight
            taken.append(
                expect_answers(url, ask(url, drawn.next(count), Loading(in_flight)))
            )
    found = []
    for in_flight, taken in runs.items():
        rates = [round(len(_whole(run)) / run.seconds, 1) for run in taken]
        p99_ms = percentile_ms([answer for run in taken for answer in run.good], 99)
        rate = statistics.median(rates)
        found.append(
            {
                "in_flight": in_flight,
                "requests_per_s": rate,
                "turns": rates,
                "p99_ms": p99_ms,
            }
        )
    return max(found, key=lambda level: level["requests_per_s"])


def _whole(run: Run) -> list[Answered]:
    return [answer for answer in run.good if not answer.degraded]


def point(turns: Sequence[Run], factor: float, best: dict[str, Any]) -> dict[str, Any]:
    """Results at ``factor`` times the best rate: the median turn's goodput, all else over all turns together."""
    good = [answer for run in turns for answer in run.good]
    goodput = [
        round(len(_whole(run)) / run.seconds / best["requests_per_s"], 3)
        for run in turns
    ]
    count, refused = (
        sum(len(run.answers) for run in turns),
        sum(run.refused for run in turns),
    )
    return {
        "factor": factor,
        "requests": count,
        "goodput": statistics.median(goodput),
        "turns": {
            "goodput": goodput,
            "p99_ms": [run.percentile_ms(99) for run in turns if run.good],
        },
        "p50_ms": percentile_ms(good, 50) if good else None,
        "p99_ms": percentile_ms(good, 99) if good else None,
        "shed": round(refused / count, 3),
        "degraded": round(sum(run.degraded for run in turns) / count, 3),
        "failed": count - len(good) - refused,
        "generator_cores": round(
            sum(run.generator_s for run in turns) / sum(run.seconds for run in turns), 2
        ),
    }


def verdict(points: Sequence[dict[str, Any]], budget_ms: int) -> dict[str, Any]:
    """Whether loads up to `JUDGED` leave the server useful, and what it answers within the budget."""
    limit_ms = SLOWS * budget_ms
    judged = [each for each in points if each["factor"] <= JUDGED]
    useful = all(each["goodput"] >= min(each["factor"], 1) * KEEPS for each in judged)
    in_time = all(
        each["p99_ms"] is not None and each["p99_ms"] <= limit_ms for each in judged
    )
    return {
        "judged": JUDGED,
        "goodput_at_least": KEEPS,
        "p99_ms_at_most": limit_ms,
        "holds": useful and in_time,
    }


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.bench.shed", description="More than the server can do."
    )
    parser.add_argument(
        "--url", default=settings.server.url, help="default: %(default)s"
    )
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="at each rate; default: %(default)s"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="turns of each rate; default: %(default)s"
    )
    parser.add_argument(
        "--factors",
        type=float,
        nargs="+",
        default=FACTORS,
        help="of the best rate, ascending",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    drawn, server = Drawn(known_userids(settings), given.seed), ready(given.url)
    turns: dict[float, list[Run]] = {factor: [] for factor in given.factors}
    with generator() as ask:
        best = best_rate(ask, given.url, drawn, given.seconds, given.rounds)
        for number in range(given.rounds):
            for factor in in_turns(list(turns), number):
                per_s = factor * best["requests_per_s"]
                turns[factor].append(
                    ask(
                        given.url,
                        drawn.next(int(per_s * given.seconds)),
                        Loading(per_s=per_s),
                    )
                )
                ask(given.url, drawn.next(_WARM_UP), Loading(1))  # drains the queue
    points = [point(taken, factor, best) for factor, taken in turns.items()]
    for each in points:
        log.info(
            "%g times the best rate: the generator used %.2f cores",
            each["factor"],
            each["generator_cores"],
        )
    about = {"command": "make bench-shed", "recipe": server["recipe"]}
    measured = {
        "best": best,
        "points": points,
        **verdict(points, settings.server.budget_ms),
    }
    figures.write(
        given.output, report(settings, server, about, measured, given.url.rstrip("/"))
    )
    figures.show(points)


if __name__ == "__main__":
    steps.run(main)
