"""Fault switches: `/ml/faults` shows them; with an admin key, on a server that allows it, POST and DELETE change them.

Which faults are on is in Redis and is followed in the background by every worker. A fault ends by its own time in
each worker, also while Redis cannot be read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from flask import Flask
from pydantic import BaseModel, Field
from werkzeug.exceptions import Forbidden

from extras.faults.declaration import (
    OFF,
    ActiveFault,
    Fault,
    FaultSettings,
    FaultStore,
)
from extras.faults.injection import inject, spared
from extras.routes import route
from online.recommend.recommend import Recommender
from online.web.parts import Parts

log = logging.getLogger(__name__)

_EXAMPLE = {"service": "triton", "kind": "down", "share": 0.5, "seconds": 60}


class FaultsView(BaseModel):
    """The faults of this server."""

    allowed: bool = Field(
        description="false: the server was started without RECSYS_SERVER__FAULTS=on"
    )
    faults: list[ActiveFault]


def register(app: Flask, parts: Parts) -> None:
    """`GET`, `POST` and `DELETE /ml/faults`."""
    faults = None
    if FaultSettings.load().faults == "on":
        faults = switched_on(parts)

    def allowed() -> Faults:
        if faults is None:
            raise Forbidden(OFF)
        return faults

    @route(app, parts, "GET", "/ml/faults", FaultsView)
    def list_faults() -> FaultsView:
        """The faults that are on.

        In the calls of the worker that answers; the others follow within a second.
        """
        if faults is None:
            return FaultsView(allowed=False, faults=[])
        return FaultsView(allowed=True, faults=faults.views())

    @route(
        app,
        parts,
        "POST",
        "/ml/faults",
        FaultsView,
        body=Fault,
        example=_EXAMPLE,
        security=[{"key": []}],
    )
    def begin_fault(fault: Fault) -> FaultsView:
        """Switch a fault on, in place of an earlier one of its service."""
        return allowed().change(lambda store: store.begin(fault))

    @route(app, parts, "DELETE", "/ml/faults", FaultsView, security=[{"key": []}])
    def end_faults() -> FaultsView:
        """Switch all faults off."""
        return allowed().change(lambda store: store.end())


def switched_on(parts: Parts) -> Faults:
    """Follow the faults that are on."""
    log.warning(
        "RECSYS_SERVER__FAULTS=on: holders of an admin key can break the calls of services"
    )
    store = parts.stores.get("faults") or FaultStore(parts.settings.redis)
    faults = Faults(parts.recommender, store)
    parts.recommender.readiness.notes.append(faults.note)
    parts.recommender.follow(faults.look)
    return faults


class Faults:
    """The faults of one process. Shared by threads."""

    def __init__(self, recommender: Recommender, store: FaultStore) -> None:
        self._clients = {client.service: client for client in recommender.clients}
        self._store = store
        self._lock = threading.Lock()
        # by service, with what ends it
        self._active: dict[str, tuple[ActiveFault, Callable[[], None]]] = {}

    def look(self) -> bool:
        """Follow what Redis says; where that cannot be read, end those whose time is over. Raises ServiceError."""
        with spared(), self._lock:
            wanted = {service: fault for service, (fault, _) in self._active.items()}
            try:
                wanted = self._store.call(None)
            finally:
                self._set(wanted)
        return True

    def change(self, act: Callable[[FaultStore], None]) -> FaultsView:
        """Change what all workers follow. Raises ServiceError."""
        with spared():
            act(self._store)
        self.look()
        return FaultsView(allowed=True, faults=self.views())

    def views(self) -> list[ActiveFault]:
        active = [fault for fault, _ in tuple(self._active.values())]
        return [each for each in active if each.seconds_left > 0]

    def note(self) -> str:
        """What readiness reports."""
        return "; ".join(
            f"fault of {each.service}: {each.kind}, share {each.share:g}"
            for each in self.views()
        )

    def _set(self, wanted: dict[str, ActiveFault]) -> None:
        for service, (fault, end) in tuple(self._active.items()):
            if wanted.get(service) != fault or fault.seconds_left <= 0:
                end()
                del self._active[service]
                log.warning("fault of %s ends: %s", service, fault.kind)
        for service, fault in wanted.items():
            if service not in self._active and fault.seconds_left > 0:
                end = inject(self._clients[service], fault)
                self._active[service] = (fault, end)
                log.warning("fault of %s begins: %s", service, fault)
