"""The load of a benchmark, its arguments, and the facts stated with its figures."""

from __future__ import annotations

import argparse
import http.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.figures import machine
from data_exchange_center.http import local_session
from data_exchange_center.release_parts import read_user_ids
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research.bench.generator import Target, expect_answers, generator
from research.bench.levels import Level, summarise

_TIMEOUT_S = 30.0
_PACKAGES = ("flask", "gunicorn", "redis", "elasticsearch", "pycurl")


class Drawn:
    """Users in random order, a different one for each request as long as there are enough."""

    def __init__(self, userids: Sequence[OwnId], seed: int) -> None:
        self._userids = userids
        self._rng = np.random.default_rng(seed)

    def next(self, count: int) -> list[OwnId]:
        known = len(self._userids)
        return [self._userids[place] for place in self._rng.choice(known, count, replace=count > known).tolist()]


@dataclass(frozen=True)
class Load:
    """Load on the server at ``url``: requests of random ``userids`` at several concurrencies."""

    url: str
    userids: Sequence[OwnId]
    levels: Sequence[int]  # requests in flight
    requests: int  # of each level
    warm_up: int  # requests before each level
    seed: int

    def measure(self, release: str | None = None) -> list[Level]:
        """Each level after a warm-up at its own concurrency, from a process that does nothing else.

        Raises StepError where more than one in a hundred is not answered, or one from another release.
        """
        drawn, target = Drawn(self.userids, self.seed), Target(self.url)
        measured = []
        with generator() as ask:
            for concurrency in self.levels:
                expect_answers(target, ask.closed(target, drawn.next(max(self.warm_up, concurrency)), concurrency))
                run = ask.closed(target, drawn.next(max(self.requests, concurrency)), concurrency)
                expect_answers(target, run)
                if others := {answer.release for answer in run.good} - {release or run.good[0].release}:
                    raise StepError(f"{self.url} answered from release {', '.join(sorted(others))}, too")
                measured.append(summarise(concurrency, run))
        return measured


def ready(url: str) -> dict[str, Any]:
    """Status of the server: release, recipe and services."""
    with local_session() as session:
        return dict(session.get(f"{url}/readyz", timeout=_TIMEOUT_S).json())


def becomes_ready(url: str, within_s: float = 120.0) -> bool:
    """Whether the server says, within that time, that it and all services are ready. A busy machine takes its time."""

    def says_so() -> bool:
        try:
            with local_session() as session:
                # Its status is 200 as long as there is some answer, one that lacks a service included.
                return bool(session.get(f"{url}/readyz", timeout=_TIMEOUT_S).json()["ready"])
        except (OSError, ValueError, LookupError):
            return False

    retrying = Retrying(stop=stop_after_delay(within_s), wait=wait_fixed(0.5), retry=retry_if_result(lambda so: not so))
    try:
        return retrying(says_so)
    except RetryError:
        return False


def facts(settings: Settings, services: Mapping[str, Any]) -> dict[str, Any]:
    """Machine, data set and versions, stated with the figures."""
    server = settings.server
    return {
        "machine": machine(),
        "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"],
        "server": {"workers": server.workers, "threads": server.threads},
        "services": {name: service.get("version") for name, service in services.items()},
        "packages": {name: version(name) for name in _PACKAGES},
    }


def known_userids(settings: Settings) -> list[OwnId]:
    """The users that the release knows, by their own ids."""
    own_ids = read_user_ids(settings.exchange_dir)
    known = artifacts.USER_SEEN.read(settings.exchange_dir, [Columns.USER])[Columns.USER].tolist()
    return [own_ids[number] for number in known]


def parse_load(settings: Settings, parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Load]:
    """Parse the arguments that every benchmark has, besides its own, and the load they describe."""
    parser.add_argument("--url", default=settings.server.url, help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=1_000, help="of each level; default: %(default)s")
    parser.add_argument("--warm-up", type=int, default=300, help="requests before each level; default: %(default)s")
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 4, 16, 64], help="requests in flight")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    userids = known_userids(settings)
    return given, Load(given.url.rstrip("/"), userids, given.levels, given.requests, given.warm_up, given.seed)


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """A server that does not answer is one sentence."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise StepError(f"No server answers at {url} ({error}). Start it with `make serve`.") from error
