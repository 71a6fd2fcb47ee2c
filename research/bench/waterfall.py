"""Break a request's time down by stage: duration, waiting, and processor time.

Of each number of requests in flight: the wall time of each stage as the server tells it; what of that is waiting, which
is what it takes more than when it is alone; the processor time of each process of the stack, for an answered request.
The server's own processor time is divided by running its recommender in this process, one request at a time
(`research.bench.bare`): so much for the client of each service, so much for the rest of it, and what remains is HTTP's.
The median of a single request is compared with that of the slowest chain of bare calls, measured in turns.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet; the server, the services; /proc
Writes  pic/figures/waterfall.json
Run     make bench-waterfall, with the services up, a release live, and the server running
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.settings import Settings
from online.recommend.types import STAGES
from research.bench.asking import Drawn, facts, known_userids, reaching, ready
from research.bench.bare import bare, costs_ms, medians
from research.bench.compare import Turn, summary
from research.bench.generator import Answered, Generator, Target, expect_answers, generator
from research.bench.processes import PARTS, Part, parts_of, used_s

OUTPUT: Final = FIGURES / "waterfall.json"
LEVELS: Final = (1, 4, 16)
ROUNDS: Final = 3
_WARM_UP: Final = 100


def one_level(ask: Generator, target: Target, parts: Mapping[str, Part], drawn: Drawn, load: tuple[int, int]) -> Turn:
    """``load``: requests in flight, requests. Raises StepError for an answer that is none."""
    in_flight, requests = load
    ask.closed(target, drawn.next(_WARM_UP), in_flight)
    before = used_s(parts)
    run = expect_answers(target, ask.closed(target, drawn.next(requests), in_flight))
    after = used_s(parts)
    return Turn(run, {name: after[name] - before[name] for name in after})


def own_wall_ms(answer: Answered) -> float:
    """Time of an answer besides its slowest chain of calls: our own code, and waiting for a processor in it."""
    took = dict.fromkeys(STAGES, 0.0) | dict(answer.took_ms or {})
    return took["total"] - took["redis"] - max(took["elasticsearch"], took["feast"]) - took["triton"]


def level_of(in_flight: int, turns: Sequence[Turn]) -> dict[str, Any]:
    """One level's part of the waterfall, but for what of it is waiting."""
    found = summary(turns)
    own = statistics.median(own_wall_ms(answer) for turn in turns for answer in turn.run.good)
    wall_ms = {**found["stage_p50_ms"], "own": round(own, 2)}
    wall_ms["http"] = round(found["p50_ms"] - wall_ms["total"], 2)
    return {
        "in_flight": in_flight,
        **{name: found[name] for name in ("requests_per_s", "p50_ms", "p99_ms", "processor_ms", "generator_ms")},
        "wall_ms": wall_ms,
        "own_share_of_processor": round(found["processor_ms"]["server"] / found["processor_ms"]["all"], 3),
        "own_share_of_wall": round(own / wall_ms["total"], 3),
    }


def with_waiting(levels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each level, with what each stage takes more than in the first, where requests are alone."""
    alone = levels[0]["wall_ms"]
    return [
        {**level, "waiting_ms": {stage: round(ms - alone[stage], 2) for stage, ms in level["wall_ms"].items()}}
        for level in levels
    ]


def server_costs(costs: Mapping[str, float], server_ms: float) -> dict[str, float]:
    """The server's processor time for a request that is alone, divided; what the recommender does not take is HTTP's.

    ``costs``: of `research.bench.bare`.
    """
    return {**costs, "http": round(server_ms - sum(costs.values()), 2)}


def table(levels: Sequence[dict[str, Any]]) -> Table:
    """In ms, a column a number of requests in flight."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    shown.add_column("in flight")
    for level in levels:
        shown.add_column(str(level["in_flight"]), justify="right")
    for stage in (*STAGES, "own", "total", "http"):
        shown.add_row(stage, *(str(level["wall_ms"][stage]) for level in levels))
        shown.add_row("  waits", *(str(level["waiting_ms"][stage]) for level in levels))
    for part in (*PARTS, "all"):
        shown.add_row(f"processor: {part}", *(str(level["processor_ms"][part]) for level in levels))
    return shown


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.bench.waterfall", description="Where the time goes.")
    parser.add_argument("--requests", type=int, default=300, help="of a level's round; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    drawn, target = Drawn(known_userids(settings), given.seed), Target(settings.server.url)
    with reaching(target.url):
        server = ready(target.url)
    parts = parts_of(settings)
    turns: dict[int, list[Turn]] = {in_flight: [] for in_flight in LEVELS}
    chains: list[list[dict[str, float]]] = []
    with generator() as ask, bare(settings) as asks:
        asks.open(drawn.next(1)[0])
        asks.recommend(drawn.next(_WARM_UP))
        for _ in range(ROUNDS):
            for in_flight, taken in turns.items():
                taken.append(one_level(ask, target, parts, drawn, (in_flight, given.requests)))
            chains.append([asks.chain_ms(asked) for asked in asks.recommend(drawn.next(given.requests // 2))])
        costs = costs_ms(asks, drawn.next(given.requests))
    levels = with_waiting([level_of(in_flight, taken) for in_flight, taken in turns.items()])
    pairs = zip(turns[1], chains, strict=True)
    ratio = statistics.median(turn.p50_ms / statistics.median(c["chain"] for c in chain) for turn, chain in pairs)
    bare_ms = medians([each for chain in chains for each in chain])
    divided = server_costs(costs, levels[0]["processor_ms"]["server"])
    console = Console()
    console.print(table(levels))
    console.print(f"the server's processor time for a request alone, in ms: {divided}")
    console.print(f"bare calls, in ms: {bare_ms}; one request takes {ratio:.2f} times the slowest chain")
    about = {"command": "make bench-waterfall", "recipe": server["recipe"]}
    measured = {"levels": levels, "server_ms": divided, "bare_ms": bare_ms, "p50_over_chain": round(ratio, 2)}
    write_json(given.output, {**about, **facts(settings, server["services"]), **measured})


if __name__ == "__main__":
    steps.run(main)
