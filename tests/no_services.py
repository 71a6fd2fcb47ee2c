"""Keep unit tests from real services: one that reaches for them fails, on a machine where they run, too."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from data_exchange_center.settings import Settings
from online.clients.http import Http
from stack.commands import PROGRAMS

# Where services listen by default, and where this environment says that they do.
PORTS: Final = {
    port: service.title
    for service in PROGRAMS
    for each in service.ports
    for port in (each.container, int(os.environ.get(each.variable, each.container)))
}
OWN_REDIS: Final = str(Settings().redis.socket)
OWN_TRITON: Final = Settings().triton.url
REDIS_PORT: Final = Settings().redis.port
HTTP_PORT: Final = Settings().triton.http_port
_reached: list[str] | None = None  # None: nobody watches


class ServiceReachedError(AssertionError):
    """A unit test reached for a real service."""


def _refuse(port: Any) -> None:
    if _reached is not None and port in PORTS:
        what = (
            f"a unit test reached for port {port}, where {PORTS[port]} listens. Unit tests need no service: give it a "
            "fake, or free ports (tests/free_ports.py), or put it under tests/services."
        )
        _reached.append(what)
        raise ServiceReachedError(what)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        _refuse(
            REDIS_PORT
            if address == OWN_REDIS
            else address[1]
            if isinstance(address, tuple)
            else None
        )


sys.addaudithook(_audit)  # once a process: there is no way to take one out


@contextmanager
def services_refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse to connect to services, by Python's sockets and libcurl, and list the attempts, caught or not."""
    global _reached
    connection = Http._connection

    def connection_elsewhere(http: Http, url: str) -> Any:
        _refuse(HTTP_PORT if url == OWN_TRITON else urlsplit(url).port)
        return connection(http, url)

    monkeypatch.setattr(Http, "_connection", connection_elsewhere)
    before, _reached = _reached, []
    try:
        yield _reached
    finally:
        _reached = before
