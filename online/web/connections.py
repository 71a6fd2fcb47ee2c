"""Connections of a gunicorn worker: how many it holds, and how long a client may take to send a head or read an answer.

gunicorn's `asgi` worker limits none of them: connections that send nothing, or read nothing, would use up the files
that it may open.
"""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from gunicorn.asgi.protocol import ASGIProtocol
from prometheus_client import Counter

from data_exchange_center.settings import ServerSettings

refused = Counter(
    "recsys_refused",
    "Requests that were refused before the application saw them",
    ["code"],
)

Address = tuple[str, int]  # of a client: its connection's name in ASGI scopes


@dataclass
class _Open:
    transport: asyncio.Transport
    first_head: asyncio.TimerHandle  # closes the connection, unless it is cancelled
    waits: bool = True  # for its client; False: its request is being answered


class Connections:
    """The open connections of a worker.

    Where there are too many, a new one takes the place of the one that has waited longest for its client, to send a
    request or to read an answer. A connection whose request is being answered is not closed: of these there are at most
    `ServerSettings.max_in_flight`.

    A client that accepts no byte of an answer for ``timeout_s`` is disconnected by the kernel.
    """

    def __init__(self, most: int, timeout_s: float) -> None:
        self._most = most
        self._timeout_s = timeout_s
        # those that wait for their client, the longest first, and others
        self._open: dict[Address | None, _Open] = {}

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> Self:
        """As many as the setting says, and at most half of the files that the process may open.

        The other half is for connections that are being accepted or closed, and for those to the services.
        """
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = settings.max_connections
        if files != resource.RLIM_INFINITY:
            most = min(most, files // 2)
        return cls(most, settings.arrival_timeout_s)

    def opened(self, transport: asyncio.Transport) -> None:
        """Add a new connection, and close another one if there are too many."""
        client = _client(transport)
        if client is None:
            transport.abort()
            return
        if len(self._open) >= self._most:
            self._close_longest_waiting()
        milliseconds = round(self._timeout_s * 1e3)
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds
        )
        # closed, not aborted: nothing waits to be sent
        first_head = asyncio.get_running_loop().call_later(
            self._timeout_s, transport.close
        )
        self._open[client] = _Open(transport, first_head)

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        client = _client(transport)
        found = self._open.get(client)
        if found is not None and found.transport is transport:
            self._forget(client)

    def head_arrived(self, client: Address | None) -> None:
        """Note that a client has sent a request's head in time. Its later ones are limited by gunicorn's keepalive."""
        if client in self._open:
            self._open[client].first_head.cancel()

    @contextmanager
    def answering(self, client: Address | None) -> Iterator[None]:
        """Keep a client's connection, while its request is answered. Then it waits for the client again."""
        if client in self._open:
            self._open[client].waits = False
        try:
            yield
        finally:
            if client in self._open:
                found = self._open[client] = self._open.pop(client)
                found.waits = True

    def _close_longest_waiting(self) -> None:
        for client, found in self._open.items():
            if found.waits:
                refused.labels("too_many_connections").inc()
                self._forget(client)
                found.transport.abort()
                return

    def _forget(self, client: Address | None) -> None:
        self._open.pop(client).first_head.cancel()


def _client(transport: asyncio.Transport) -> Address | None:
    """The client's address; None: it was gone before its connection was accepted."""
    address = transport.get_extra_info("peername")
    if address is None:
        return None
    host, port, *_ = address  # IPv6 has more
    return host, port


class Connection(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's protocol, which tells the application's `Connections` of each connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.worker.asgi.connections.opened(transport)

    def connection_lost(self, error: Any) -> None:
        self.worker.asgi.connections.closed(self.transport)
        super().connection_lost(error)
