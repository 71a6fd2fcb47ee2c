"""HTTP by libcurl, to one server or to whichever of several answers; and the shape of a client of a JSON service.

libcurl takes a third of Python's processor time, most of it without the GIL, and keeps one deadline for the whole call:
DNS lookup, connecting, sending, and an answer that trickles in.
"""

import io
import itertools
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final

import certifi
import orjson
import pycurl

from data_exchange_center.settings import (
    ElasticsearchSettings,
    FeastSettings,
    TritonSettings,
)
from online.clients.base import (
    NEVER,
    Client,
    Found,
    GoneError,
    Query,
    ServiceError,
    current,
)

DOWN_S: Final = 2.0  # how long a server that did not answer is tried last
_UNIX: Final = "unix:"
_SOCKET_PATH_BYTES: Final = 107
_OVER_SOCKET: Final = "http://localhost"  # scheme and host of a request over a socket
_BUFFER: Final = 128 * 1024  # bytes, libcurl's receive buffer
# bytes of an answer; those that a request waits for have far less
_MOST: Final = 16 * 1024 * 1024


class UnreadableError(OSError):
    """The answer is not HTTP or too long, or the connection could not be set up (TLS, for example)."""


_LOST: Final = (
    pycurl.E_GOT_NOTHING,
    pycurl.E_RECV_ERROR,
    pycurl.E_SEND_ERROR,
    pycurl.E_PARTIAL_FILE,
    pycurl.E_HTTP2,
)
_OSERRORS: Final[
    dict[int, type[OSError]]
] = {  # libcurl's errors, as Python names them; any other is an UnreadableError
    pycurl.E_OPERATION_TIMEDOUT: TimeoutError,
    pycurl.E_COULDNT_CONNECT: ConnectionRefusedError,
    pycurl.E_COULDNT_RESOLVE_HOST: ConnectionRefusedError,
    **dict.fromkeys(_LOST, ConnectionResetError),
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A server's status, the body, and the lines of the head as they came."""

    status: int
    body: bytes
    head: bytes = field(default=b"", repr=False, compare=False)

    def header(self, name: str) -> str:
        """Return a header's value. Raises KeyError where the answer does not have it."""
        for line in self.head.splitlines():
            key, _, value = line.partition(b":")
            if key.lower() == name.lower().encode():
                return value.strip().decode("latin-1")
        raise KeyError(name)


@dataclass(slots=True)
class _Node:
    """One server, and the kept-alive connections to it that no thread is using."""

    url: str  # scheme, host and port, or "unix:" and the path of a socket
    down_until: float = 0.0
    idle: deque[pycurl.Curl] = field(default_factory=deque)

    def close(self) -> None:
        with suppress(IndexError):
            while True:
                self.idle.pop().close()


def _folder(path: Path) -> str:
    """The folder of a socket, by a descriptor where its path is too long: an address has 107 bytes at most."""
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES or not path.parent.is_dir():
        return str(path.parent)
    return _opened(path.parent)


@cache
def _opened(folder: Path) -> str:
    return f"/proc/self/fd/{os.open(folder, os.O_PATH | os.O_DIRECTORY)}"  # stays open


class Http:
    """Kept-alive connections, as many as threads use at once. Shared by threads, not across a fork.

    Several servers are called round robin, past those that do not answer. So a call may be made twice: it only reads.
    """

    def __init__(
        self,
        *urls: str,
        timeout_s: float,
        login: tuple[str, str] | None = None,
        ca_certs: Path | None = None,
    ) -> None:
        """Prepare; the first call connects.

        Args:
            urls: of each server: scheme, host and port, or ``unix:`` and the path of its socket.
            timeout_s: of a call without a deadline.
            login: user and password.
            ca_certs: PEM file of the trusted certificate authorities, instead of the public ones.
        """
        self._nodes, self._turn = [_Node(url) for url in urls], itertools.count()
        self._timeout_s, self._login, self._ca_certs = timeout_s, login, ca_certs

    def get(self, path: str) -> HttpAnswer:
        """GET a path. Returns and raises as `post`."""
        return self.post(path, None)

    def post(self, path: str, body: bytes | None, *headers: str) -> HttpAnswer:
        """Return the answer, whatever its status. ``body``: None: GET the path.

        Raises TimeoutError, ConnectionRefusedError where nothing answers, ConnectionResetError where the connection
        ended before the whole answer was there, and UnreadableError, also for an answer of more than 16 MiB.
        """
        # Round robin, and those that did not answer lately last
        first, now = next(self._turn) % len(self._nodes), time.monotonic()
        nodes = self._nodes[first:] + self._nodes[:first]
        *others, last = sorted(nodes, key=lambda node: node.down_until > now)
        for node in others:
            try:
                return self._perform(node, path, body, headers)
            except ConnectionError:
                if not current().left():
                    raise
        return self._perform(last, path, body, headers)

    def _perform(
        self, node: _Node, path: str, body: bytes | None, headers: Sequence[str]
    ) -> HttpAnswer:
        try:
            # used last, so that the others may be closed by the server
            curl = node.idle.pop()
        except IndexError:
            curl = self._connection(node.url)
        head, answer = io.BytesIO(), io.BytesIO()
        curl.setopt(
            pycurl.URL,
            (_OVER_SOCKET if node.url.startswith(_UNIX) else node.url) + path,
        )
        # send a body at once, without waiting for 100 Continue
        curl.setopt(pycurl.HTTPHEADER, ["Expect:", *headers])
        curl.setopt(pycurl.WRITEHEADER, head)
        curl.setopt(pycurl.WRITEDATA, answer)
        left_s = self._timeout_s if current() is NEVER else current().left()
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(left_s * 1e3)))
        if body is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POSTFIELDS, body)
        try:
            curl.perform()
        except pycurl.error as error:
            curl.close()
            code, message = error.args
            kind = _OSERRORS.get(code, UnreadableError)
            if issubclass(kind, ConnectionError):
                node.close()  # the other connections lead to the same server; new ones look its name up again
            if kind is not UnreadableError:
                node.down_until = time.monotonic() + DOWN_S
            raise kind(f"{message} (libcurl's error {code})") from error
        found = HttpAnswer(
            curl.getinfo(pycurl.RESPONSE_CODE), answer.getvalue(), head.getvalue()
        )
        answer.close()  # which the idle connection would hold until its next call
        node.down_until = 0.0
        node.idle.append(curl)  # last: another thread may take it at once
        return found

    def _connection(self, url: str) -> pycurl.Curl:
        """Connection for one thread at a time. It connects at its first use, and again where the server has hung up."""
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)  # as threads use it
        # none between us and our own service, whatever the environment names
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        # also ends an answer that does not say how long it is
        curl.setopt(pycurl.MAXFILESIZE, _MOST)
        if url.startswith(_UNIX):
            path = Path(url.removeprefix(_UNIX))
            curl.setopt(pycurl.UNIX_SOCKET_PATH, f"{_folder(path)}/{path.name}")
        if self._login is not None:
            curl.setopt(pycurl.USERNAME, self._login[0].encode())
            curl.setopt(pycurl.PASSWORD, self._login[1].encode())
        curl.setopt(pycurl.CAINFO, str(self._ca_certs or certifi.where()))
        return curl

    def close(self) -> None:
        """Close the connections that no thread is using."""
        for node in self._nodes:
            node.close()


class HttpClient(Client[Query, Found]):
    """A client of a service that answers in JSON. ``http`` is its transport, which extensions may replace."""

    gone: ClassVar[str]  # what a 404 means, as `ServiceError.what`

    def __init__(
        self,
        settings: ElasticsearchSettings | FeastSettings | TritonSettings,
        *urls: str,
        **more: Any,
    ) -> None:
        """``urls``: of servers, if not those of the settings; ``more``: arguments of `Http`."""
        super().__init__(settings.timeout_s)
        self.http = Http(*(urls or settings.urls), timeout_s=settings.timeout_s, **more)

    def _read(self, answer: HttpAnswer) -> dict[str, Any]:
        """The content of an answer. Raises GoneError for a 404, ServiceError for another status."""
        if answer.status == HTTPStatus.NOT_FOUND:
            raise GoneError(self.service, self.gone)
        if answer.status != HTTPStatus.OK:
            raise ServiceError(self.service, f"answered with status {answer.status}")
        return dict(orjson.loads(answer.body))

    def close(self) -> None:
        self.http.close()
