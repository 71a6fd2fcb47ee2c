"""The four calls of a request, without the server: what they cost their caller, and how fast they are by themselves.

The server's recommender runs in this process, one request at a time, over clients that keep each query and take the
time. Then the same queries are sent again by the same clients, one call at a time and nothing between them: no server
that calls these services can be faster than the slowest chain of those, Redis, then the slower of Elasticsearch and
Feast, then Triton.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import Settings
from online.clients.base import Client, Deadline
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures
from online.clients.redis import RedisUsers
from online.clients.triton import TritonScores
from online.recommend.recommend import Recommender
from online.recommend.release import OpeningError
from online.recommend.types import STAGES, Request

_OPENS_WITHIN_S: Final = 60.0


@dataclass(frozen=True)
class Call:
    """One call of one client."""

    query: Any
    wall_s: float
    processor_s: float  # of the calling thread


class _Recording(Client[Any, Any]):
    """A client that keeps its last call."""

    last: Call

    def call(self, query: Any, deadline: Deadline | None = None) -> Any:
        began, used = time.perf_counter(), time.thread_time()
        answer = super().call(query, deadline)
        self.last = Call(query, time.perf_counter() - began, time.thread_time() - used)
        return answer


class _Redis(_Recording, RedisUsers):
    """Redis, recorded."""


class _Elastic(_Recording, ElasticItems):
    """Elasticsearch, recorded."""


class _Feast(_Recording, FeastFeatures):
    """Feast, recorded."""


class _Triton(_Recording, TritonScores):
    """Triton, recorded."""


@dataclass(frozen=True)
class Asked:
    """One request in this process."""

    calls: Mapping[str, Call]  # stage -> its call
    wall_s: float


class Bare:
    """The recommender and its clients in this process."""

    def __init__(self, settings: Settings) -> None:
        self._clients: dict[str, _Recording] = {
            client.service: client
            for client in (
                _Redis(settings.redis),
                _Elastic(settings.elasticsearch),
                _Feast(settings.feast),
                _Triton(settings.triton),
            )
        }
        users, items, features, scorer = self._clients.values()
        self._recommender = Recommender(users, items, features, scorer, settings.server)  # type: ignore[arg-type]

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
