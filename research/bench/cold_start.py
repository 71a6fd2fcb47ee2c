"""Benchmark Elasticsearch's warm-up: the first requests after its start, without and with it.

Elasticsearch is restarted, then the server; when that is ready, requests come at a fixed rate, as anybody sends
them: with the server's own budget, not strict. Without a warm-up and with the settings' own, in turns.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet; the server, over HTTP
Writes  pic/figures/cold_start.json
Run     make bench-cold-start, with the services up and a release live: Elasticsearch and the server are restarted
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from online.stack import commands
from online.stack.elasticsearch.service import ELASTICSEARCH
from online.stack.server import SERVER
from online.stack.service import StackError
from research.bench.asking import Drawn, facts, known_userids, ready
from research.bench.generator import Answered, Generator, Target, generator
from research.bench.levels import percentile_ms

OUTPUT: Final = FIGURES / "cold_start.json"
REQUESTS: Final = 200  # the first ones
PER_S: Final = 20.0


class Start(NamedTuple):
    """One start."""

    ready_s: float  # from the server's start until it was ready
    answers: tuple[Answered, ...]


def start(settings: Settings, ask: Generator, drawn: Drawn) -> Start:
    """Restart Elasticsearch and the server, and measure the first requests. Raises StackError."""
    commands.down(settings, [SERVER])
    commands.restart(settings, [ELASTICSEARCH])
    began = time.monotonic()
    commands.up(settings, [SERVER])
    ready_s = time.monotonic() - began
    run = ask.fixed_rate(Target(settings.server.url), drawn.next(REQUESTS), PER_S)
    return Start(ready_s, run.answers)


def summary(starts: Sequence[Start]) -> dict[str, Any]:
    """Over the first requests of several starts."""
    answers = [answer for each in starts for answer in each.answers]
    good = [answer for answer in answers if answer.ok]
    return {
        "ready_s": round(statistics.median(each.ready_s for each in starts), 1),
        "requests": len(answers),
        "p50_ms": percentile_ms(good, 50),
        "p99_ms": percentile_ms(good, 99),
        "degraded": sum(bool(answer.degraded) for answer in good),
        "failed": len(answers) - len(good),
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    shown = Table("warm-up", *next(iter(found.values())), box=box.SIMPLE, pad_edge=False)
    for name, values in found.items():
        shown.add_row(name, *map(str, values.values()))
    return shown


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.bench.cold_start", description="Is a warm-up worth it?")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    if not settings.server.warm_up_s:
        raise StepError("RECSYS_SERVER__WARM_UP_S is 0, so there is no warm-up to compare with: unset it")
    cold = settings.model_copy(update={"server": settings.server.model_copy(update={"warm_up_s": 0.0})})
    sides = {"0 s": cold, f"{settings.server.warm_up_s:g} s": settings}
    drawn = Drawn(known_userids(settings), given.seed)
    starts: dict[str, list[Start]] = {name: [] for name in sides}
    try:
        with generator() as ask:
            for turn in range(given.rounds):
                for name in sides if turn % 2 == 0 else reversed(sides):
                    starts[name].append(start(sides[name], ask, drawn))
        commands.serve(settings)
    except StackError as error:
        raise StepError(str(error)) from error
    server = ready(settings.server.url)
    found = {name: summary(each) for name, each in starts.items()}
    Console().print(table(found))
    about = {"command": "make bench-cold-start", "recipe": server["recipe"]}
    measured = {"rounds": given.rounds, "requests_per_s": PER_S, "warm_up": found}
    write_json(given.output, {**about, **facts(settings, server["services"]), **measured})


if __name__ == "__main__":
    steps.run(main)
