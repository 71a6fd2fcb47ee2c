"""Readiness: whether the server could answer now, in full or degraded; its status; its warm-up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any, Literal

from pydantic import BaseModel, Field

from online.clients.base import OUT_OF_TIME, Breaker, Client, ServiceError
from online.clients.elastic import ElasticItems
from online.clients.redis import RedisUsers, UserQuery
from online.recommend.loaded_release import Release
from online.recommend.outcomes import NoReleaseError
from online.recommend.recall import recall
from online.recommend.registry import Registry
from online.recommend.types import read_id

log = logging.getLogger(__name__)

FRESH_S = 0.5  # how long a result is reused, so that frequent probes do not load the services


class ServiceState(BaseModel):
    """Whether a service answers, and which version it is."""

    ready: bool
    version: str = ""
    took_ms: float = 0
    message: str = Field(default="", description="why it does not")
    breaker: Literal["closed", "half_open", "open"] = Field(description="open: it is not called for a moment")


class Ready(BaseModel):
    """Whether the server could answer now, and how well."""

    status: Literal["ready", "degraded", "unready"] = Field(description="degraded: it answers, without something")
    ready: bool = Field(description="it answers: the status is not unready, and the HTTP status 200")
    release: str | None
    recipe: str | None
    message: str = ""
    services: dict[str, ServiceState]


class Readiness:
    """Readiness of the services and the live release; callers within `FRESH_S` share one probe.

    While one probes, others get the result before it: they do not wait for a slow service, and take no thread.
    """

    def __init__(
        self, releases: Registry, clients: Sequence[Client[Any, Any]], breakers: Mapping[str, Breaker]
    ) -> None:
        self._releases, self._clients, self._breakers = releases, clients, breakers
        self._lock = threading.Lock()
        self._found: tuple[float, Ready] | None = None  # until when it counts, in seconds of `time.monotonic`

    def __call__(self) -> Ready:
        """Current readiness, at most `FRESH_S` and the time of a probe old."""
        before = self._found
        if before is not None and time.monotonic() < before[0]:
            return before[1]
        if not self._lock.acquire(blocking=before is None):
            assert before is not None  # noqa: S101 (or it would have waited)
            return before[1]
        try:
            if self._found is before:
                found = self._find_out()
                self._found = time.monotonic() + FRESH_S, found
            assert self._found is not None  # noqa: S101
            return self._found[1]
        finally:
            self._lock.release()

    def _find_out(self) -> Ready:
        with ThreadPoolExecutor(len(self._clients)) as pool:
            services = dict(pool.map(self._state_of, self._clients))  # all at once
        found: dict[str, Any] = {"release": None, "recipe": None}
        try:
            live = self._releases.get_active().manifest
            found = {"release": live.release, "recipe": live.recipe.name}
        except (ServiceError, NoReleaseError) as error:
            found["message"] = str(error)
        complete = "message" not in found and all(service.ready for service in services.values())
        answers = "message" not in found or self._releases.can_serve
        status: Any = "ready" if complete else "degraded" if answers else "unready"
        return Ready(status=status, ready=answers, services=services, **found)

    def _state_of(self, client: Client[Any, Any]) -> tuple[str, ServiceState]:
        """A service's version, or what is wrong with it."""
        breaker: Any = self._breakers[client.service].state
        began = time.perf_counter()
        try:
            version = client.ping()
        except ServiceError as error:
            message = f"{error.service} {error.what}."
            return client.service, ServiceState(ready=False, message=message, breaker=breaker)
        took_ms = round((time.perf_counter() - began) * 1e3, 2)
        return client.service, ServiceState(ready=True, version=version, took_ms=took_ms, breaker=breaker)


# --- a cold Elasticsearch searches slowly until Java has compiled what a search runs

WARM = 2_000  # searches that an index has answered since Elasticsearch started: most of the slow ones are behind it
HOT = 15_000  # ... and after so many Java compiles little more: a search costs a third of what it does at first
_USERS = 200  # whose requests are simulated, in turn
_AT_A_TIME = 20  # requests between two reads of the search count, which other processes raise, too


def warm_up_elasticsearch(
    users: RedisUsers, items: ElasticItems, opened: Release, enough: int, more: Callable[[float], bool],
    *, patient: bool = False,
) -> None:  # fmt: skip
    """Search as requests of the release's users would, until the index has answered ``enough`` searches.

    Searches of `make sync` and of requests count, too. Ends early if a service does not answer.

    Args:
        more: called with the seconds of each search; returns whether to go on.
        patient: go on after a search that timed out, as those of a cold service may.
    """
    try:
        for count, userid in enumerate(cycle(users.some_users(opened.release, _USERS))):
            if count % _AT_A_TIME == 0 and items.searches(opened.release) >= enough:
                break
            began = time.monotonic()
            query = UserQuery.of(read_id("userid", userid, opened.user_ids), opened.manifest)
            try:
                if (user := users.call(query).user) is not None:
                    known = user.current(opened.manifest.dataset, opened.numbers, None)
                    recall(items, opened, known, int(time.time()), fewest=0)
            except ServiceError as error:
                if not patient or error.what != OUT_OF_TIME:
                    raise
            if not more(time.monotonic() - began):
                return
    except ServiceError as error:
        log.info("Elasticsearch is left to warm up by requests: %s", error)
        return
    log.info("Elasticsearch has answered %d searches for release %s", enough, opened.release)
