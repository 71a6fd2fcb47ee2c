"""HTTP by libcurl, to one server or to whichever of several answers; and the part that its three clients share.

A call costs a third of the processor time that it costs in Python, most of it without the GIL, and libcurl keeps a
deadline as a whole: looking a name up, connecting, sending, and an answer that comes a byte now and then.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final

import certifi
import orjson
import pycurl

from online.clients.base import Answer as Found
from online.clients.base import Client, GoneError, Query, left_s

DOWN_S: Final = 2.0  # for which a server that did not answer is called only where no other does
_BUFFER: Final = 128 * 1024  # bytes that are handed over at once
_MOST: Final = 16 * 1024 * 1024  # bytes of an answer; those that a request waits for have far less
_LOST: Final = frozenset(
    {pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_PARTIAL_FILE, pycurl.E_HTTP2}
)
_UNREACHABLE: Final = frozenset({pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST})


class UnreadableError(OSError):
    """The answer is not HTTP or too long, or the connection could not be made as it was to be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's status, and the body."""

    status: int
    body: bytes


@dataclass(slots=True)
class _Node:
    """One server, and the kept-alive connections to it that no thread is using."""

    url: str  # scheme, host and port
    down_until: float = 0.0
    idle: deque[pycurl.Curl] = field(default_factory=deque)

    def close(self) -> None:
        with suppress(IndexError):
            while True:
                self.idle.pop().close()


class Http:
    """Kept-alive connections, as many as threads use at once. Shared by threads, not across a fork.

    Several servers are called round robin, past those that do not answer. So a call may be made twice: it only reads.
    """

    def __init__(
        self, *urls: str, timeout_s: float, login: tuple[str, str] | None = None, ca_certs: Path | None = None
    ) -> None:
        """Connect to nobody yet.

        Args:
            timeout_s: of a call without a deadline.
            login: user and password.
            ca_certs: a PEM file with the authorities that are believed, instead of the public ones.
        """
        self._nodes = [_Node(url) for url in urls]
        self._turn = itertools.count()
        self._timeout_s = timeout_s
        self._login = login
        self._ca_certs = ca_certs

    def get(self, path: str) -> Answer:
        """Raises as `post`."""
        return self._call(path, None, ())

    def post(self, path: str, body: bytes, *headers: str) -> Answer:
        """Return the answer, whatever its status.

        Raises TimeoutError, ConnectionRefusedError where nothing answers, ConnectionResetError where the connection
        ended before the whole answer was there, and UnreadableError, also for an answer of more than 16 MiB.
        """
        return self._call(path, body, headers)

    def put(self, path: str, body: bytes, *headers: str) -> Answer:
        """As `post`."""
        return self._call(path, body, headers, "PUT")

    def _call(self, path: str, body: bytes | None, headers: Sequence[str], method: str = "") -> Answer:
        # Round robin, and those that did not answer lately last
        first, now = next(self._turn), time.monotonic()
        nodes = [self._nodes[(first + n) % len(self._nodes)] for n in range(len(self._nodes))]
        *others, last = sorted(nodes, key=lambda node: node.down_until > now)
        for node in others:
            try:
                return self._perform(node, path, body, headers, method)
            except ConnectionError:
                if not left_s(self._timeout_s):
                    raise
        return self._perform(last, path, body, headers, method)

    def _perform(self, node: _Node, path: str, body: bytes | None, headers: Sequence[str], method: str) -> Answer:
        try:
            curl = node.idle.pop()  # used last, so that the others may be closed by the server
        except IndexError:
            curl = self._connection(node.url)
        parts: list[bytes] = []
        size = 0

        def take(part: bytes) -> int | None:
            """Keep a part of the answer; libcurl ends the call unless all bytes are taken (None: they are)."""
            nonlocal size
            size += len(part)
            parts.append(part)
            return 0 if size > _MOST else None

        curl.setopt(pycurl.URL, node.url + path)
        curl.setopt(pycurl.HTTPHEADER, ["Expect:", *headers])  # send a body at once, without waiting for 100 Continue
        curl.setopt(pycurl.WRITEFUNCTION, take)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(left_s(self._timeout_s) * 1e3)))
        if body is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POSTFIELDS, body)
        if method:
            curl.setopt(pycurl.CUSTOMREQUEST, method)
        try:
            curl.perform()
        except pycurl.error as error:
            curl.close()
            if size > _MOST:
                raise UnreadableError(f"an answer of more than {_MOST} bytes") from error
            if error.args[0] in _UNREACHABLE | _LOST:
                node.close()  # the other connections lead to the same server; new ones look its name up again
            raised = _as_oserror(*error.args)
            if not isinstance(raised, UnreadableError):
                node.down_until = time.monotonic() + DOWN_S
            raise raised from error
        if method:
            curl.unsetopt(pycurl.CUSTOMREQUEST)
        node.down_until = 0.0
        node.idle.append(curl)
        return Answer(curl.getinfo(pycurl.RESPONSE_CODE), b"".join(parts))

    def _connection(self, url: str) -> pycurl.Curl:
        """Connection for one thread at a time. It connects at its first use, and again where the server has hung up."""
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)  # as threads use it
        curl.setopt(pycurl.PROXY, "")  # none between us and our own service, whatever the environment names
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        if self._login is not None:
            curl.setopt(pycurl.USERNAME, self._login[0].encode())
            curl.setopt(pycurl.PASSWORD, self._login[1].encode())
        curl.setopt(pycurl.CAINFO, str(self._ca_certs or certifi.where()))
        return curl

    def close(self) -> None:
        """Close the connections that no thread is using."""
        for node in self._nodes:
            node.close()


def _as_oserror(code: int, message: str) -> OSError:
    """Name libcurl's error as Python does."""
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TimeoutError(message)
    if code in _UNREACHABLE:
        return ConnectionRefusedError(message)
    if code in _LOST:
        return ConnectionResetError(message)
    return UnreadableError(f"{message} (libcurl's error {code})")


class HttpClient(Client[Query, Found]):
    """A client of a service that answers in JSON."""

    gone: ClassVar[str]  # what the service has no more of, where it answers 404

    def __init__(self, http: Http, timeout_s: float) -> None:
        self._http, self.timeout_s = http, timeout_s

    def _read(self, answer: Answer) -> dict[str, Any]:
        """The content of an answer. Raises GoneError for a 404, ServiceError for another status."""
        if answer.status == HTTPStatus.NOT_FOUND:
            raise GoneError(self.service, self.gone)
        if answer.status != HTTPStatus.OK:
            raise self._wrong(f"answered with status {answer.status}")
        return dict(orjson.loads(answer.body))

    def close(self) -> None:
        self._http.close()
