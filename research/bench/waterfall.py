"""Break a request's time down by stage: duration, waiting, and processor time.

For each number of requests in flight: the wall time of each stage, as the server reports it; its waiting, which is its
time beyond that of a single request; the processor time of each process of the stack per answered request. The server's
own processor time is split by running its recommender in this process, one request at a time, into the client of each
service and the rest; what remains is HTTP's. The median of a single request is compared with that of the slowest chain
of bare calls, measured in turns.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet; the server, the services; /proc
Writes  pic/figures/waterfall.json
Run     make bench-waterfall, with the services up, a release live, and the server running
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from data_exchange_center import steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import Settings
from online.clients.base import NEVER, Client, Deadline
from online.recommend.outcomes import LoadingError
from online.recommend.recommend import Recommender
from online.recommend.types import STAGES, Request
from research.bench.load import (
    Answered,
    Drawn,
    Loading,
    Run,
    generator,
    known_userids,
    ready,
    report,
    summary,
    take_turn,
)
from research.bench.processes import parts_of
from research.figure_files import FIGURES
from research.figures import costs as blocks
from research.reports import publish

OUTPUT: Final = FIGURES / "waterfall.json"
LEVELS: Final = (1, 4, 16)
ROUNDS: Final = 3
_WARM_UP: Final = 100
_OPENS_WITHIN_S: Final = 60.0


def own_wall_ms(answer: Answered) -> float:
    """Time of an answer outside its slowest chain of calls: our own code, and its waiting for a processor."""
    took = dict.fromkeys(STAGES, 0.0) | dict(answer.took_ms or {})
    return took["total"] - took["redis"] - max(took["elasticsearch"], took["feast"]) - took["triton"]


def level_of(in_flight: int, turns: Sequence[Run]) -> dict[str, Any]:
    """One level of the waterfall, without the waiting times."""
    found = summary(turns)
    own = statistics.median(own_wall_ms(answer) for turn in turns for answer in turn.good)
    wall_ms = {**found["stage_p50_ms"], "own": round(own, 2)}
    wall_ms["http"] = round(found["p50_ms"] - wall_ms["total"], 2)
    return {
        "in_flight": in_flight,
        **{
            name: found[name]
            for name in ("requests_per_s", "p50_ms", "p99_ms", "turns", "processor_ms", "generator_ms")
        },
        "wall_ms": wall_ms,
        "own_share_of_processor": round(found["processor_ms"]["server"] / found["processor_ms"]["all"], 3),
        "own_share_of_wall": round(own / wall_ms["total"], 3),
    }


def with_waiting(levels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add waiting times: what each stage takes beyond the first level, where requests are alone."""
    alone = levels[0]["wall_ms"]
    return [
        {**level, "waiting_ms": {stage: round(ms - alone[stage], 2) for stage, ms in level["wall_ms"].items()}}
        for level in levels
    ]


# --- The four calls of a request, without the server


@dataclass(frozen=True)
class Call:
    """One call of one client."""

    query: Any
    processor_s: float  # of the calling thread


Calls = dict[str, Call]  # of one request: stage -> its call


class Bare:
    """The recommender and its clients in this process; each client's last call is kept."""

    def __init__(self, settings: Settings) -> None:
        self._last: Calls = {}
        self._recommender = Recommender.from_settings(settings)
        self._call = {client.service: self._recorded(client) for client in self._recommender.clients}
        self.close = self._recommender.close

    def _recorded(self, client: Client[Any, Any]) -> Any:
        call = client.call

        def kept(query: Any, deadline: Deadline = NEVER, *, strict: bool = True) -> Any:
            used = time.thread_time()
            answer = call(query, deadline, strict=strict)
            self._last[client.service] = Call(query, time.thread_time() - used)
            return answer

        client.call = kept  # type: ignore[method-assign]
        return kept

    def open(self, userid: OwnId) -> None:
        """Open the live release in this process, however long that takes. Raises ServiceError, NoReleaseError."""
        opening = retry_if_exception_type(LoadingError)
        Retrying(stop=stop_after_delay(_OPENS_WITHIN_S), retry=opening, reraise=True)(self.recommend, [userid])

    def recommend(self, userids: Sequence[OwnId]) -> list[Calls]:
        """Recommend, and return each request's calls. Raises ServiceError if a service does not answer."""
        found = []
        for userid in userids:
            self._recommender.recommend(Request.model_validate({"userid": userid, "strict": True}))
            found.append({stage: self._last[stage] for stage in STAGES})
        return found

    def chain_ms(self, calls: Calls) -> dict[str, float]:
        """Send a request's queries again, each by itself: milliseconds of each, and of the slowest chain."""
        took = {}
        for stage, call in calls.items():
            began = time.perf_counter()
            self._call[stage](call.query)
            took[stage] = 1e3 * (time.perf_counter() - began)
        return {**took, "chain": took["redis"] + max(took["elasticsearch"], took["feast"]) + took["triton"]}

    def costs_ms(self, userids: Sequence[OwnId]) -> dict[str, float]:
        """Processor milliseconds of a request in this process: of each client, and of all the rest."""
        used = time.process_time()
        requests = self.recommend(userids)
        all_s = time.process_time() - used
        clients = {stage: sum(calls[stage].processor_s for calls in requests) for stage in STAGES}
        per_request = {**clients, "own": all_s - sum(clients.values())}
        return {name: round(1e3 * seconds / len(requests), 2) for name, seconds in per_request.items()}


# --- The command


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.bench.waterfall", description="Where the time goes.")
    parser.add_argument("--requests", type=int, default=300, help="of a level's round; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    drawn, url = Drawn(known_userids(settings), given.seed), settings.server.url
    server, parts = ready(url), parts_of(settings)
    turns: dict[int, list[Run]] = {in_flight: [] for in_flight in LEVELS}
    chains: list[list[dict[str, float]]] = []
    with generator() as ask, closing(Bare(settings)) as bare:
        bare.open(drawn.next(1)[0])
        bare.recommend(drawn.next(_WARM_UP))
        for _ in range(ROUNDS):
            for in_flight, taken in turns.items():
                taken.append(take_turn(ask, url, parts, Loading(in_flight), drawn, given.requests))
            chains.append([bare.chain_ms(calls) for calls in bare.recommend(drawn.next(given.requests // 2))])
        costs = bare.costs_ms(drawn.next(given.requests))
    levels = with_waiting([level_of(in_flight, taken) for in_flight, taken in turns.items()])
    # The server's processor time for a request that is alone: what the recommender does not take is HTTP's
    costs["http"] = round(levels[0]["processor_ms"]["server"] - sum(costs.values()), 2)
    ratios = [
        round(turn.percentile_ms(50) / statistics.median(each["chain"] for each in chain), 2)
        for turn, chain in zip(turns[1], chains, strict=True)
    ]
    every = [each for chain in chains for each in chain]
    bare_ms = {name: round(statistics.median(each[name] for each in every), 2) for name in every[0]}
    about = {"command": "make bench-waterfall", "recipe": server["recipe"]}
    over_chain = {"p50_over_chain": statistics.median(ratios), "p50_over_chain_turns": ratios}
    measured = {"levels": levels, "server_ms": costs, "bare_ms": bare_ms, **over_chain}
    publish(given.output, report(settings, server, about, measured), blocks.waterfall)


if __name__ == "__main__":
    steps.run(main)
