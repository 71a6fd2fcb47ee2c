"""Break a request's time down by stage: duration, waiting, and processor time.

Of each number of requests in flight: the wall time of each stage as the server tells it; what of that is waiting, which
is what it takes more than when it is alone; the processor time of each process of the stack, for an answered request.
The server's own processor time is divided by running its recommender in this process, one request at a time:
so much for the client of each service, so much for the rest of it, and what remains is HTTP's. The median of a single
request stands beside that of the slowest chain of bare calls, measured in turns.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet; the server, the services; /proc
Writes  pic/figures/waterfall.json
Run     make bench-waterfall, with the services up, a release live, and the server running
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from data_exchange_center import steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.figures import FIGURES, write_figure
from data_exchange_center.settings import Settings
from online.clients.base import NEVER, Client, Deadline
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures
from online.clients.redis import RedisUsers
from online.clients.triton import TritonScores
from online.recommend.recommend import Recommender
from online.recommend.release import OpeningError
from online.recommend.types import STAGES, Request
from research.bench.load import (
    CODE,
    Answered,
    Drawn,
    Loading,
    Target,
    Turn,
    facts,
    generator,
    known_userids,
    reaching,
    ready,
    summary,
    take_turn,
)
from research.bench.processes import PARTS, parts_of

OUTPUT: Final = FIGURES / "waterfall.json"
LEVELS: Final = (1, 4, 16)
ROUNDS: Final = 3
_WARM_UP: Final = 100


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

    ``costs``: of `research.bench.waterfall`.
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


# --- The four calls of a request, without the server


_OPENS_WITHIN_S: Final = 60.0


@dataclass(frozen=True)
class Call:
    """One call of one client."""

    query: Any
    wall_s: float
    processor_s: float  # of the calling thread


def recording(client: Client[Any, Any]) -> Client[Any, Any]:
    """Make a client keep its last call, as ``last``."""
    call = client.call

    def kept(query: Any, deadline: Deadline = NEVER) -> Any:
        began, used = time.perf_counter(), time.thread_time()
        answer = call(query, deadline)
        client.last = Call(query, time.perf_counter() - began, time.thread_time() - used)  # type: ignore[attr-defined]
        return answer

    client.call = kept  # type: ignore[method-assign]
    return client


@dataclass(frozen=True)
class Asked:
    """One request in this process."""

    calls: Mapping[str, Call]  # stage -> its call
    wall_s: float


class Bare:
    """The recommender and its clients in this process."""

    def __init__(self, settings: Settings) -> None:
        self._clients: dict[str, Any] = {
            client.service: recording(client)
            for client in (
                RedisUsers(settings.redis),
                ElasticItems(settings.elasticsearch),
                FeastFeatures(settings.feast),
                TritonScores(settings.triton),
            )
        }
        users, items, features, scorer = self._clients.values()
        self._recommender = Recommender(users, items, features, scorer, settings.server)

    def open(self, userid: OwnId) -> None:
        """Open the live release in this process, however long that takes. Raises ServiceError, NoReleaseError."""
        opening = retry_if_exception_type(OpeningError)
        Retrying(stop=stop_after_delay(_OPENS_WITHIN_S), retry=opening, reraise=True)(self._recommend, userid)

    def recommend(self, userids: Sequence[OwnId]) -> list[Asked]:
        """Raises ServiceError for the first request that a service does not answer."""
        return [self._recommend(userid) for userid in userids]

    def _recommend(self, userid: OwnId) -> Asked:
        began = time.perf_counter()
        self._recommender.recommend(Request.model_validate({"userid": userid, "strict": True}))
        wall_s = time.perf_counter() - began
        return Asked({stage: self._clients[stage].last for stage in STAGES}, wall_s)

    def chain_ms(self, asked: Asked) -> dict[str, float]:
        """The request's queries sent again, each by itself: milliseconds of each, and of the slowest chain."""
        took = {}
        for stage, call in asked.calls.items():
            began = time.perf_counter()
            self._clients[stage].call(call.query)
            took[stage] = 1e3 * (time.perf_counter() - began)
        return {**took, "chain": took["redis"] + max(took["elasticsearch"], took["feast"]) + took["triton"]}

    def close(self) -> None:
        self._recommender.close()


@contextmanager
def bare(settings: Settings) -> Iterator[Bare]:
    opened = Bare(settings)
    try:
        yield opened
    finally:
        opened.close()


def costs_ms(asks: Bare, userids: Sequence[OwnId]) -> dict[str, float]:
    """Processor milliseconds of a request in this process: of each client, and of all the rest."""
    used = time.process_time()
    asked = asks.recommend(userids)
    all_s = time.process_time() - used
    clients = {stage: sum(each.calls[stage].processor_s for each in asked) for stage in STAGES}
    per_request = {**clients, "own": all_s - sum(clients.values())}
    return {name: round(1e3 * seconds / len(asked), 2) for name, seconds in per_request.items()}


def medians(chains: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(each[name] for each in chains), 2) for name in chains[0]}


# --- The command


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
                taken.append(take_turn(ask, target, parts, Loading(in_flight), drawn, given.requests))
            chains.append([asks.chain_ms(asked) for asked in asks.recommend(drawn.next(given.requests // 2))])
        costs = costs_ms(asks, drawn.next(given.requests))
    levels = with_waiting([level_of(in_flight, taken) for in_flight, taken in turns.items()])
    pairs = zip(turns[1], chains, strict=True)
    ratio = statistics.median(turn.p50_ms / statistics.median(c["chain"] for c in chain) for turn, chain in pairs)
    bare_ms = medians([each for chain in chains for each in chain])
    divided = server_costs(costs, levels[0]["processor_ms"]["server"])
    console = Console(width=max(Console().width, 140))
    console.print(table(levels))
    console.print(f"the server's processor time for a request alone, in ms: {divided}")
    console.print(f"bare calls, in ms: {bare_ms}; one request takes {ratio:.2f} times the slowest chain")
    about = {"command": "make bench-waterfall", "recipe": server["recipe"]}
    measured = {"levels": levels, "server_ms": divided, "bare_ms": bare_ms, "p50_over_chain": round(ratio, 2)}
    write_figure(given.output, {**about, **facts(settings, server["services"]), **measured}, CODE)


if __name__ == "__main__":
    steps.run(main)
