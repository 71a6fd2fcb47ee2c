"""Benchmark the server: requests per second, p50, p99 and the median of each stage, at several concurrencies.

The load comes from a process of its own, over kept-alive connections, for real users drawn at random, a different one
for each request (the server caches no answer). Requests are plain ones, each sent at once after an answer; answered,
degraded and refused ones are counted. The server and the four services have to be up.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet (who the users are); the server, over HTTP
Writes  pic/figures/serving.json
Run     make bench, or python -m research.bench.serving [--requests 1000] [--levels 1 4 16 64] ...
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenacity import (
    Retrying,
    TryAgain,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from data_exchange_center import steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research import figures
from research.bench.load import (
    Drawn,
    Loading,
    Run,
    expect_answers,
    generate,
    generator,
    in_turns,
    known_userids,
    ready,
    report,
    summary,
    take_turn,
)
from research.bench.processes import Parts

log = logging.getLogger(__name__)

Levels = dict[int, Run]  # requests in flight -> a turn


def measure(
    url: str,
    drawn: Drawn,
    levels: Sequence[int],
    requests: int,
    warm_up: int = 100,
    release: str | None = None,
    parts: Parts | None = None,
) -> Levels:
    """Measure a turn at each level, with the load from a process of its own. ``parts``: as of `take_turn`.

    Raises StepError where more than one in a hundred is not answered, or one from another release.
    """
    taken = {}
    with generator() as ask:
        for level in levels:
            taken[level] = take_turn(
                ask, url, parts or {}, Loading(level), drawn, requests, warm_up=warm_up
            )
            good = taken[level].good
            if others := {answer.release for answer in good} - {
                release or good[0].release
            }:
                raise StepError(
                    f"{url} answered from release {', '.join(sorted(others))}, too"
                )
    return taken


def levels_of(rounds: Sequence[Levels]) -> list[dict[str, Any]]:
    """Sum the rounds of a server up, level by level; every other round was measured in descending order."""
    return [
        {"concurrency": level, **summary([each[level] for each in rounds])}
        for level in sorted(rounds[0])
    ]


_SWITCH_S = 60.0  # until every worker serves a release that has gone live
_REQUESTED = 32  # requests, over connections enough for every worker to get some


def until_served(url: str, userids: Sequence[OwnId], release: str) -> None:
    """Wait until every worker of the server answers from a release. Raises StepError when they do not."""

    def requested() -> None:
        run = expect_answers(url, generate(url, userids, Loading(_REQUESTED // 2)))
        if any(answer.release != release for answer in run.answers):
            raise TryAgain

    again = retry_if_exception_type(TryAgain)
    try:
        Retrying(
            stop=stop_after_delay(_SWITCH_S),
            wait=wait_fixed(0.2),
            retry=again,
            reraise=True,
        )(requested)
    except TryAgain as error:
        raise StepError(
            f"{url} does not answer from release {release} after {_SWITCH_S:.0f} s"
        ) from error


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.bench.serving",
        description="How fast the server answers.",
    )
    parser.add_argument(
        "--url", default=settings.server.url, help="default: %(default)s"
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=1_000,
        help="of each level; default: %(default)s",
    )
    parser.add_argument(
        "--warm-up",
        type=int,
        default=300,
        help="requests before each level; default: %(default)s",
    )
    parser.add_argument(
        "--levels",
        type=int,
        nargs="+",
        default=[1, 4, 16, 64],
        help="requests in flight",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="turns of each level; default: %(default)s",
    )
    parser.add_argument("--output", type=Path, help="default: pic/figures/serving.json")
    given = parser.parse_args()
    url, userids = given.url.rstrip("/"), known_userids(settings)
    server = ready(url)

    turns = []
    for number in range(given.rounds):
        levels = in_turns(given.levels, number)  # every other turn descends
        turns.append(
            measure(
                url, Drawn(userids, given.seed), levels, given.requests, given.warm_up
            )
        )
    about = {
        "command": "make bench",
        "recipe": server["recipe"],
        "release": server["release"],
    }
    found = report(settings, server, about, {"levels": levels_of(turns)}, url)
    figures.write(given.output or figures.FIGURES / "serving.json", found)
    figures.show(found["levels"])


if __name__ == "__main__":
    steps.run(main)
