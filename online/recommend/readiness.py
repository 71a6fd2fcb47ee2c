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
from online.recommend.recall import recall
from online.recommend.release import Release, Releases
from online.recommend.types import NoReleaseError, read_id

log = logging.getLogger(__name__)

FRESH_S = 0.5  # how long a result is reused, so that a flood of probes is none for the services


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
    ready: bool = Field(description="everything is there")
    release: str | None
    recipe: str | None
    message: str = ""
    services: dict[str, ServiceState]


class Readiness:
    """Readiness of the services and the live release, probed once for all callers at the same time, or soon after."""

    def __init__(
        self, releases: Releases, clients: Sequence[Client[Any, Any]], breakers: Mapping[str, Breaker]
    ) -> None:
        self._releases, self._clients, self._breakers = releases, clients, breakers
        self._lock = threading.Lock()
        self._found: Ready | None = None
        self._stale_at = 0.0  # in seconds of `time.monotonic`

    def __call__(self) -> Ready:
        """Current readiness, at most `FRESH_S` old."""
        with self._lock:
            if self._found is None or time.monotonic() >= self._stale_at:
                self._found = self._find_out()
                self._stale_at = time.monotonic() + FRESH_S
            return self._found

    def _find_out(self) -> Ready:
        with ThreadPoolExecutor(len(self._clients)) as pool:
            services = dict(pool.map(self._state_of, self._clients))  # all at once
        live = problem = None
        try:
            live = self._releases.open_live().manifest
        except (ServiceError, NoReleaseError) as error:
            problem = str(error)
        ready = live is not None and all(service.ready for service in services.values())
        answers = live is not None or self._releases.something_to_answer_with
        return Ready(
            status="ready" if ready else "degraded" if answers else "unready",
            ready=ready,
            release=live.release if live else None,
            recipe=live.recipe.name if live else None,
            **({"message": problem} if problem else {}),
            services=services,
        )

    def _state_of(self, client: Client[Any, Any]) -> tuple[str, ServiceState]:
        """A service's version, or what is wrong with it."""
        found: dict[str, Any] = {"breaker": self._breakers[client.service].state}
        try:
            began = time.perf_counter()
            found |= {"ready": True, "version": client.ping()}
            found["took_ms"] = round((time.perf_counter() - began) * 1e3, 2)
        except ServiceError as error:
            found |= {"ready": False, "message": f"{error.service} {error.what}."}
        return client.service, ServiceState(**found)


# --- a cold Elasticsearch searches slowly until Java has compiled what a search runs

WARM = 2_000  # searches that an index has answered since Elasticsearch started: most of the slow ones are behind it
HOT = 15_000  # ... and after so many Java compiles little more: a search costs a third of what it does at first
_USERS = 200  # whose requests are made, in turns
_AT_A_TIME = 20  # requests between two looks at the count, which other processes raise, too


def warm_up_elasticsearch(
    users: RedisUsers,
    items: ElasticItems,
    opened: Release,
    enough: int,
    more: Callable[[float], bool],
    *,
    patient: bool = False,
) -> None:
    """Search as requests of the release's users would, until the index has answered ``enough`` searches.

    Nothing is searched where it has answered so many already: by the checks of `make sync`, or by requests. It ends
    where a service does not answer, too.

    Args:
        more: is called with the seconds of each search, and says whether there is another.
        patient: go on after a search that took longer than a request waits for it, as those of a cold service do.
    """
    try:
        some_users = users.some_users(opened.release, opened.manifest.dataset.base_name, _USERS)
        for count, (userid, _) in enumerate(cycle(some_users)):
            if count % _AT_A_TIME == 0 and items.searches(opened.release) >= enough:
                break
            began = time.monotonic()
            query = UserQuery.of(read_id("userid", userid, opened.user_ids), opened.manifest)
            try:
                if (user := users.call(query).user) is not None:
                    recall(items, opened, opened.current(user, None), int(time.time()))
            except ServiceError as error:
                if not patient or error.what != OUT_OF_TIME:
                    raise
            if not more(time.monotonic() - began):
                return
    except ServiceError as error:
        log.info("Elasticsearch is left to warm up by requests: %s", error)
        return
    log.info("Elasticsearch has answered %d searches for release %s", enough, opened.release)
