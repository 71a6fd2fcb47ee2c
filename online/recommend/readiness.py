"""Readiness: whether the server could answer now, in full or degraded; its status; its warm-up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Literal

from online.clients.base import OUT_OF_TIME, Client, Deadline, Pong, ServiceError, until
from online.clients.elastic import ElasticItems
from online.clients.redis import RedisUsers, UserQuery
from online.recommend.recall import recall
from online.recommend.release import Release
from online.recommend.types import read_id

log = logging.getLogger(__name__)

FRESH_S = 0.5  # how long a result is reused, so that a flood of probes is none for the services


@dataclass(frozen=True)
class Readiness:
    """State of the release and of each service."""

    release: str | None  # the live one
    recipe: str | None
    release_problem: str | None
    services: Mapping[str, Pong | ServiceError]
    answers_without: bool = False  # there is something to answer with whatever is missing

    @property
    def ready(self) -> bool:
        """Everything is there."""
        return self.release_problem is None and all(isinstance(pong, Pong) for pong in self.services.values())

    @property
    def status(self) -> Literal["ready", "degraded", "unready"]:
        """Degraded: it answers, and its answers say what they lack."""
        if self.ready:
            return "ready"
        return "degraded" if self.answers_without else "unready"


def ask_all(clients: Sequence[Client[object, object]]) -> dict[str, Pong | ServiceError]:
    """Every service at once: its version, or what is wrong with it."""
    with ThreadPoolExecutor(len(clients)) as pool:
        return dict(pool.map(_ask, clients))


def _ask(client: Client[object, object]) -> tuple[str, Pong | ServiceError]:
    try:
        return client.service, client.ping()
    except ServiceError as error:
        return client.service, error


class SharedReadiness:
    """Probes once for all callers at the same time, or soon after. Shared by threads."""

    def __init__(self, find_out: Callable[[], Readiness]) -> None:
        self._find_out = find_out
        self._lock = threading.Lock()
        self._found: Future[Readiness] | None = None  # being found out, or found
        self._stale_at = 0.0  # in seconds of `time.monotonic`

    def get(self) -> Readiness:
        """As it is now, or was `FRESH_S` ago at most. Raises what finding out raises."""
        with self._lock:
            found = self._found
            mine = found is None or (found.done() and time.monotonic() >= self._stale_at)
            if found is None or mine:
                found = self._found = Future()
        if mine:
            try:
                found.set_result(self._find_out())
                self._stale_at = time.monotonic() + FRESH_S
            except BaseException as error:
                found.set_exception(error)
        return found.result()


@dataclass(frozen=True, slots=True)
class Status:
    """A moment of one process."""

    release: str | None  # that requests are answered from; None until the first is open
    recipe: str | None
    items_fetched_at: float | None  # Unix seconds: since when its films' features are at hand
    open_releases: int
    waiting_for_features: int  # requests whose user's features are not being fetched yet
    breakers: Mapping[str, str] = field(default_factory=dict)  # service -> "closed", "half_open" or "open"


# --- a cold Elasticsearch searches slowly until Java has compiled what a search runs

WARM = 2_000  # searches that an index has answered since Elasticsearch started: most of the slow ones are behind it
_USERS = 200  # whose requests are made, in turns
_AT_A_TIME = 20  # requests between two looks at the count, which other processes raise, too


def warm_up_elasticsearch(users: RedisUsers, items: ElasticItems, opened: Release, within_s: float) -> None:
    """Search as requests of the release's users would, until the index has answered `WARM` searches or time is over.

    Nothing is searched where it has answered so many already: by the checks of `make sync`, or by requests.
    ``within_s``: seconds, 0 for not at all. Raises ServiceError, unless it is that time is over.
    """
    if not within_s:
        return
    started, deadline = time.perf_counter(), Deadline.after(within_s)
    searches = before = None
    try:
        with until(deadline):
            searches = before = items.searches(opened.release)
            userids = (
                users.some_users(opened.release, opened.manifest.dataset.base_name, _USERS) if searches < WARM else []
            )
            requests = cycle(userids)
            while userids and searches < WARM and deadline.left():
                for userid, _ in islice(requests, _AT_A_TIME):
                    _search(users, items, opened, userid, deadline)
                searches = items.searches(opened.release)
    except ServiceError as error:
        if error.what != OUT_OF_TIME:
            raise
    if searches != before:
        log.info(
            "warmed Elasticsearch up: %d searches of release %s since its start, %d of them in the last %.1f s",
            searches, opened.release, (searches or 0) - (before or 0), time.perf_counter() - started,
        )  # fmt: skip


def _search(users: RedisUsers, items: ElasticItems, opened: Release, userid: str, deadline: Deadline) -> None:
    """Recall as for a request as of now. A cold service may need longer than a request waits for it."""
    query = UserQuery.of(read_id("userid", userid, opened.user_ids), opened.manifest)
    try:
        if (user := users.call(query).user) is not None:
            recall(items, opened, opened.current(user, None), int(time.time()))
    except ServiceError as error:
        if error.what != OUT_OF_TIME or not deadline.left():
            raise
