"""Readiness: whether the server could answer now, in full or degraded; its status."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from pydantic import BaseModel, Field

from online.clients.base import Client, ServiceError
from online.recommend.outcomes import NoReleaseError
from online.recommend.releases import Releases

# how long a result is reused, so that frequent probes do not load the services
FRESH_S = 0.5


class ServiceState(BaseModel):
    """Whether a service answers, and which version it is."""

    ready: bool
    version: str = ""
    took_ms: float = 0
    message: str = Field(default="", description="why it does not")
    breaker: Literal["closed", "half_open", "open"] = Field(
        description="open: it is not called for a moment"
    )


class Ready(BaseModel):
    """Whether the server could answer now, and how well."""

    status: Literal["ready", "degraded", "unready"] = Field(
        description="degraded: it answers, without something"
    )
    ready: bool = Field(
        description="it answers: the status is not unready, and the HTTP status 200"
    )
    release: str | None
    recipe: str | None
    message: str = ""
    services: dict[str, ServiceState]
    notes: list[str] = Field(
        default=[], description="what extensions report: a release on trial, faults"
    )


class Readiness:
    """Readiness of the services and the live release; callers within `FRESH_S` share one probe.

    While one probes, others get the result before it: they do not wait for a slow service, and take no thread.
    """

    def __init__(self, releases: Releases, clients: Sequence[Client[Any, Any]]) -> None:
        self._releases = releases
        self._clients = clients
        # of extensions; empty text: nothing to report
        self.notes: list[Callable[[], str]] = []
        self._lock = threading.Lock()
        # until when it counts, in seconds of `time.monotonic`
        self._found: tuple[float, Ready] | None = None

    def __call__(self) -> Ready:
        """Current readiness, at most `FRESH_S` and the time of a probe old."""
        before = self._found
        if before is None:
            self._lock.acquire()
        elif time.monotonic() < before[0] or not self._lock.acquire(blocking=False):
            return before[1]
        try:
            found = self._found
            if found is None or found is before:
                ready = self._find_out()
                found = self._found = time.monotonic() + FRESH_S, ready
            return found[1]
        finally:
            self._lock.release()

    def _find_out(self) -> Ready:
        with ThreadPoolExecutor(len(self._clients)) as pool:
            services = dict(pool.map(self._state_of, self._clients))  # all at once
        status: Literal["ready", "degraded", "unready"] = "ready"
        if not all(service.ready for service in services.values()):
            status = "degraded"
        found: dict[str, Any] = {"release": None, "recipe": None}
        try:
            manifest = self._releases.get().manifest
            found = {"release": manifest.release, "recipe": manifest.recipe.name}
        except NoReleaseError as error:
            found["message"] = str(error)
            status = "unready"
        if notes := [text for note in self.notes if (text := note())]:
            found["notes"] = notes
        return Ready(
            status=status, ready=status != "unready", services=services, **found
        )

    def _state_of(self, client: Client[Any, Any]) -> tuple[str, ServiceState]:
        """A service's version, or what is wrong with it."""
        state = ServiceState(ready=True, breaker=client.breaker.state)
        began = time.perf_counter()
        try:
            state.version = client.ping()
            state.took_ms = round((time.perf_counter() - began) * 1e3, 2)
        except ServiceError as error:
            state.ready = False
            state.message = f"{error.service} {error.what}."
        return client.service, state
