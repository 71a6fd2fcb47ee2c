"""The HTTP edge: the Flask application behind gunicorn's `asgi` worker, with a bounded queue in front of its threads.

The event loop reads a request's head and body, so that a slow client costs a socket and no thread. A request that is
whole goes to a thread, or waits for one, or is refused at once where too many have come already. Flask runs under any
WSGI server, without the queue. asgiref reads a body without a limit in size or time, a2wsgi reads it within the thread,
and neither can refuse a request before it takes a thread: hence this small adapter from ASGI to WSGI.
"""

import asyncio
import io
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from flask import Flask, Response
from pydantic import BaseModel, Field

from data_exchange_center.settings import ServerSettings
from online.web.connections import Connections, refused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Reply = tuple[int, Headers, bytes]  # status, headers, body

# bytes; a request needs forty, a list of events or of items more
MAX_BODY: Final = 256 * 1024
BODY_TOO_LARGE: Final = f"The body is larger than {MAX_BODY} bytes."
# In a request's WSGI environment: since when it is complete, in seconds of `time.perf_counter`. The wait for a thread
# counts. Flask's own server does not set it.
COMPLETE_SINCE: Final = "recsys.complete_since"
ALIVE: Final = "/healthz"  # answered in the event loop: it calls no service
# answered by a thread of its own, also while all others are busy
METRICS: Final = "/metrics"
HEALTH_PATHS: Final = (ALIVE, METRICS)
HEALTH_QUEUE: Final = 8  # of the latter at once
RETRY_AFTER_S: Final = 1
# Of every answer that has no others: nobody keeps it, histories above all, and no browser takes it for a script.
DEFAULT_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
# share of the answers that ask the client to connect again, while all threads are busy
RECONNECTS: Final = 1 / 16


class Error(BaseModel, extra="forbid"):
    """What went wrong."""

    code: str = Field(description="for programs")
    message: str = Field(description="a sentence for people")
    field: str = Field(
        default="", description="400: which field of the request, or body"
    )
    service: str = Field(default="", description="503: which service")


class ErrorAnswer(BaseModel, extra="forbid"):
    """Every error has this shape."""

    error: Error


def error_body(code: str, message: str, **more: str) -> str:
    """An error as JSON. ``more``: ``field`` or ``service``, where there is one."""
    return ErrorAnswer(error=Error(code=code, message=message, **more)).model_dump_json(
        exclude_unset=True
    )


class Refusal(NamedTuple):
    """An error that is answered without the application."""

    status: int
    code: str
    message: str
    field: str = ""

    def reply(self) -> Reply:
        """An error of the usual shape. The connection ends where the body has not been read."""
        refused.labels(self.code).inc()
        body = error_body(
            self.code, self.message, **({"field": self.field} if self.field else {})
        ).encode()
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **DEFAULT_HEADERS,
        }
        if self is OVERLOADED:
            headers["Retry-After"] = str(RETRY_AFTER_S)
        else:
            headers["Connection"] = "close"
        return self.status, _encoded(headers.items()), body


OVERLOADED: Final = Refusal(
    503, "overloaded", "This server is overloaded: try again later."
)
TOO_LARGE: Final = Refusal(413, "body_too_large", BODY_TOO_LARGE, "body")
TOO_LATE: Final = Refusal(408, "request_timeout", "The request did not arrive in time.")
NO_LENGTH: Final = Refusal(
    411, "length_required", "The header Content-Length is missing."
)


class Pool:
    """Thread pool with a bounded queue: at most ``most`` requests are being answered or wait."""

    def __init__(self, threads: int, most: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, name)
        self.threads, self.most = threads, most
        self.in_hand = 0  # read and written by the event loop alone

    async def run(
        self, reply: Callable[[dict[str, Any]], Reply], environ: dict[str, Any]
    ) -> Reply:
        """Reply on a thread of the pool. Its place is freed when the thread is done, even if the client hangs up."""
        self.in_hand += 1
        future = asyncio.get_running_loop().run_in_executor(
            self._executor, reply, environ
        )
        future.add_done_callback(self._left)
        return await asyncio.shield(future)

    def _left(self, _: object) -> None:
        self.in_hand -= 1


class Edge:
    """An ASGI application around a Flask one. One per process; used by one event loop."""

    def __init__(self, app: Flask, settings: ServerSettings) -> None:
        self.connections = Connections.from_settings(settings)
        self._app = app
        self._arrives_within_s = settings.arrival_timeout_s
        self._pool = Pool(
            settings.threads, max(settings.threads, settings.max_in_flight), "request"
        )
        self._watched = Pool(1, HEALTH_QUEUE, "watched")
        self._reconnects = RECONNECTS if settings.workers > 1 else 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.connections.head_arrived(scope["client"])
        reply = await self._reply(scope, receive)
        if reply is None:  # the client has gone
            return
        status, headers, body = reply
        await send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        await send({"type": "http.response.body", "body": body})

    async def _reply(self, scope: Scope, receive: Receive) -> Reply | None:
        # 1. what cannot be right is refused before its body is read
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return NO_LENGTH.reply()
        if int(headers.get(b"content-length", b"0")) > MAX_BODY:
            return TOO_LARGE.reply()

        # 2. the body arrives, within its time
        try:
            async with asyncio.timeout(self._arrives_within_s):
                body = await _body(receive)
        except TimeoutError:
            return TOO_LATE.reply()
        if body is None:
            return None

        # 3. a thread replies, now or when one is free
        with self.connections.answering(scope["client"]):
            return await self._answer(scope, body)

    async def _answer(self, scope: Scope, body: bytes) -> Reply:
        if scope["path"] == ALIVE:
            return self._respond(_environ(scope, body))
        pool = self._watched if scope["path"] == METRICS else self._pool
        if pool.in_hand >= pool.most:
            return OVERLOADED.reply()
        status, reply_headers, content = await pool.run(
            self._respond, _environ(scope, body)
        )
        # Clients that connect at the same moment may all be accepted by one worker, and would stay with it. So a worker
        # whose threads are all busy asks some of them to connect again: whichever worker is free accepts them. It is a
        # hint: gunicorn serves the connection for as long as the client keeps it.
        if (
            self._pool.in_hand >= self._pool.threads
            and random.random() < self._reconnects  # noqa: S311
        ):
            reply_headers.append((b"connection", b"close"))
        return status, reply_headers, content

    def _respond(self, environ: dict[str, Any]) -> Reply:
        response = Response.from_app(self._app, environ, buffered=True)
        return response.status_code, _encoded(response.headers), response.get_data()


def _encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    """Headers as ASGI has them."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in headers
    ]


async def _body(receive: Receive) -> bytes | None:
    """A request's whole body; None: the client has gone."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of a request."""
    host, port = scope["server"] or ("", 0)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"].partition(b"?")[0]).decode(
            "latin-1"
        ),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        COMPLETE_SINCE: time.perf_counter(),
    }
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").upper().replace("-", "_")
        if name == "CONTENT_TYPE":
            environ[name] = value.decode("latin-1")
        elif name != "CONTENT_LENGTH":
            key, text = f"HTTP_{name}", value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ
