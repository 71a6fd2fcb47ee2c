"""A client's connection, read by uvicorn's HTTP parser in C (llhttp), with limits on a request's head.

uvicorn limits neither the size of a head nor the time in which it arrives. A head that is whole is judged by the
application (`online.web.asgi.Edge`); a connection ends here whose head never becomes whole, or is no HTTP.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from online.web.asgi import HEAD_TOO_LARGE, MAX_HEAD, NO_HTTP, TOO_LATE, Edge, Refusal


class Connection(HttpToolsProtocol):
    """In the event loop of a worker (online/gunicorn_conf.py). ``app``: what it serves."""

    app: Edge
    _due: asyncio.TimerHandle | None = None  # while a head is awaited: when it is too late
    _arrived = 0  # bytes of that head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._due is None:  # not the connection's first request
            self._await_head()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        awaited = self._due
        super().data_received(data)
        if awaited is not None and self._due is awaited:  # the same head, not whole yet
            self._arrived += len(data)
            if self._arrived > MAX_HEAD:
                self._refuse(HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._await_no_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._await_no_head()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(NO_HTTP)

    def _await_head(self) -> None:
        self._arrived = 0
        self._due = self.loop.call_later(self.app.arrives_within_s, self._give_up)

    def _await_no_head(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _give_up(self) -> None:
        if self._arrived:
            self._refuse(TOO_LATE)
        else:  # as browsers open connections that they may need
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without the application, and end the connection."""
        self._await_no_head()
        if not self.transport.is_closing():
            status, headers, body = refusal.reply()
            head = b"".join(b"%b: %b\r\n" % pair for pair in headers)
            self.transport.write(
                b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, HTTPStatus(status).phrase.encode(), head, body)
            )
            self.transport.close()
