"""Whether the server could answer now, and as well as it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from online.clients.base import Client, Pong, ServiceError


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
