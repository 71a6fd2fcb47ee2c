"""Whether the server could answer now, and as well as it should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from online.clients.base import Client, Pong, ServiceError

FRESH_S = 0.5  # how long an answer serves whoever asks next, so that a flood of probes is none for the services


@dataclass(frozen=True)
class Readiness:
    """What is there and what is missing."""

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
    """Finds out once for all who ask at the same time, or soon after. Shared by threads."""

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
