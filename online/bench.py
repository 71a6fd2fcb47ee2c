"""How fast the server answers: requests per second, p50, p99 and the median of each stage, at several concurrencies.

The load comes from a process of its own, over kept-alive connections, for real users drawn at random, a different one
for each request (the server caches no answer). Requests are strict: a list that lacks a service is no fast answer. The
server and the four services have to be up.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet (who the users are); the server, over HTTP
Writes  pic/figures/serving.json
Run     make bench, or python -m online.bench [--requests 1000] [--levels 1 4 16] [--url ...] [--output ...]
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from data_exchange_center import artifacts, steps
from data_exchange_center.columns import Columns
from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.http import local_session
from data_exchange_center.machine import machine
from data_exchange_center.own_ids import OwnId
from data_exchange_center.release_parts import read_user_ids
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError

OUTPUT = FIGURES / "serving.json"
STAGES = ("redis", "elasticsearch", "feast", "triton", "total")
_TIMEOUT_S = 30.0
_PACKAGES = ("flask", "gunicorn", "redis", "elasticsearch", "requests", "tritonclient")


@dataclass(frozen=True)
class Answered:
    """One answered request."""

    seconds: float  # as the client saw it
    release: str
    took_ms: dict[str, float]  # as the server told it


@dataclass(frozen=True)
class Level:
    """What was measured at one concurrency."""

    concurrency: int
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    stage_p50_ms: dict[str, float]


def load(url: str, userids: Sequence[OwnId], concurrency: int) -> tuple[float, list[Answered]]:
    """Ask for every user once, ``concurrency`` requests at a time. Returns the seconds it took, and the answers.

    Raises StepError for an answer that is not 200.
    """
    shares = [userids[start::concurrency] for start in range(concurrency)]
    with ThreadPoolExecutor(concurrency) as pool:
        started = time.perf_counter()
        answers = [answer for share in pool.map(lambda share: _one_client(url, share), shares) for answer in share]
        return time.perf_counter() - started, answers


def _one_client(url: str, userids: Sequence[OwnId]) -> list[Answered]:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port or 80, timeout=_TIMEOUT_S)
    answers = []
    try:
        for userid in userids:
            started = time.perf_counter()
            connection.request("POST", "/ml/rec", json.dumps({"userid": userid, "strict": True}))
            response = connection.getresponse()
            body = response.read()
            seconds = time.perf_counter() - started
            if response.status != http.client.OK:
                raise StepError(f"{url} answered {response.status} for user {userid!r}: {body[:200].decode()}")
            answer = json.loads(body)
            answers.append(Answered(seconds, answer["release"], answer["took_ms"]))
    finally:
        connection.close()
    return answers


def summarise(concurrency: int, seconds: float, answers: Sequence[Answered]) -> Level:
    """Medians and the 99th percentile over all answers of a level."""
    latency_ms = np.array([answer.seconds for answer in answers]) * 1e3
    stages = {
        stage: round(float(np.median([a.took_ms[stage] for a in answers if stage in a.took_ms])), 2)
        for stage in STAGES
        if any(stage in a.took_ms for a in answers)
    }
    return Level(
        concurrency=concurrency,
        requests=len(answers),
        requests_per_s=round(len(answers) / seconds, 1),
        p50_ms=round(float(np.percentile(latency_ms, 50)), 2),
        p99_ms=round(float(np.percentile(latency_ms, 99)), 2),
        stage_p50_ms=stages,
    )


@dataclass(frozen=True)
class Load:
    """What is asked of the server at ``url``: requests of random ``userids`` at several concurrencies."""

    url: str
    userids: Sequence[OwnId]
    levels: Sequence[int]  # requests in flight
    requests: int  # of each level
    warm_up: int  # requests before each level
    seed: int

    def measure(self, release: str | None = None) -> list[Level]:
        """Each level after a warm-up at its own concurrency, from a process that does nothing else.

        Raises StepError for an answer that is not 200, or of another release than the one that is asked for.
        """
        rng = np.random.default_rng(self.seed)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as generator:

            def asked(count: int, concurrency: int) -> tuple[float, list[Answered]]:
                count, known = max(count, concurrency), len(self.userids)
                drawn = rng.choice(known, count, replace=count > known).tolist()
                asked = [self.userids[place] for place in drawn]
                return generator.submit(load, self.url, asked, concurrency).result()

            measured = []
            for concurrency in self.levels:
                asked(self.warm_up, concurrency)
                seconds, answers = asked(self.requests, concurrency)
                if others := {answer.release for answer in answers} - {release or answers[0].release}:
                    raise StepError(f"{self.url} answered from release {', '.join(sorted(others))}, too")
                measured.append(summarise(concurrency, seconds, answers))
            return measured


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


def ready(url: str) -> dict[str, Any]:
    """What the server says of itself: release, recipe and services."""
    with local_session() as session:
        return dict(session.get(f"{url}/readyz", timeout=_TIMEOUT_S).json())


def facts(settings: Settings, services: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs to know beside the figures."""
    server = settings.server
    return {
        "machine": machine(),
        "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"],
        "server": {"workers": server.workers, "threads": server.threads},
        "services": {name: service.get("version") for name, service in services.items()},
        "packages": {name: version(name) for name in _PACKAGES},
    }


def parse_load(settings: Settings, parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Load]:
    """The arguments that every benchmark has, beside its own; and the load they describe."""
    parser.add_argument("--url", default=settings.server.url, help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=1_000, help="of each level; default: %(default)s")
    parser.add_argument("--warm-up", type=int, default=300, help="requests before each level; default: %(default)s")
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 4, 16], help="requests in flight")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    own_ids = read_user_ids(settings.exchange_dir)
    known = artifacts.USER_SEEN.read(settings.exchange_dir, [Columns.USER])[Columns.USER].tolist()
    userids = [own_ids[number] for number in known]
    return given, Load(given.url.rstrip("/"), userids, given.levels, given.requests, given.warm_up, given.seed)


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """A server that does not answer is one sentence."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise StepError(f"No server answers at {url} ({error}). Start it with `make serve`.") from error


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m online.bench", description="How fast the server answers.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments, asking = parse_load(settings, parser)
    with reaching(asking.url):
        levels = asking.measure()
        server = ready(asking.url)
    Console().print(table(levels))
    about = {"command": "make bench", "recipe": server["recipe"], "release": server["release"]}
    measured = {"levels": [vars(level) for level in levels]}
    write_json(arguments.output, {**about, **facts(settings, server["services"]), **measured})


if __name__ == "__main__":
    steps.run(main)
