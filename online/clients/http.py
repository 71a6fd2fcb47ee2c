"""HTTP by libcurl, to one server or to whichever of several answers.

A call costs a third of the processor time that it costs in Python, most of it without the GIL, and libcurl keeps a
deadline as a whole: looking a name up, connecting, sending, and an answer that comes a byte now and then.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import certifi
import pycurl

from online.clients.deadline import current

_BUFFER: Final = 128 * 1024  # bytes that are handed over at once
_MOST: Final = 16 * 1024 * 1024  # bytes of an answer; those that a request waits for have far less
_LOST: Final = frozenset(
    {pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_PARTIAL_FILE, pycurl.E_HTTP2}
)
_UNREACHABLE: Final = frozenset({pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST})


class UnreadableError(OSError):
    """The answer is not HTTP, or the connection could not be made as configured."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response: status and body."""

    status: int
    body: bytes


class _Received:
    """Received parts of one response."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.too_large = False
        self._left = _MOST

    def take(self, part: bytes) -> int | None:
        """Called by libcurl, which ends the call unless all bytes are taken (None: they are)."""
        self._left -= len(part)
        if self._left < 0:
            self.too_large = True
            return 0
        self.parts.append(part)
        return None


class Http:
    """Kept-alive connections to one server, as many as threads use at once. Shared by threads, not across a fork."""

    def __init__(
        self,
        url: str,
        headers: Sequence[str] = (),
        *,
        timeout_s: float,
        login: tuple[str, str] | None = None,
        ca_certs: Path | None = None,
    ) -> None:
        """``url``: scheme, host and port; ``timeout_s``: of a call without a deadline.

        ``ca_certs``: a PEM file with the authorities that are believed, instead of the public ones.
        """
        self._url = url
        self._headers = [*headers, "Expect:"]  # send a body at once, without waiting for 100 Continue
        self._timeout_s = timeout_s
        self._login = login
        self._ca_certs = ca_certs
        self._idle: deque[pycurl.Curl] = deque()

    def get(self, path: str) -> Answer:
        """Raises as `post`."""
        return self._ask(path, None)

    def post(self, path: str, body: bytes, headers: Sequence[str] = ()) -> Answer:
        """Send a POST request, and return the answer whatever its status. ``headers``: besides the connection's.

        Raises TimeoutError, ConnectionRefusedError where nothing answers, ConnectionResetError where the connection
        ended before the whole answer was there, and UnreadableError, also for an answer of more than 16 MiB.
        """
        return self._ask(path, body, headers)

    def _ask(self, path: str, body: bytes | None, headers: Sequence[str] = ()) -> Answer:
        try:
            curl = self._idle.pop()  # used last, so that the others may be closed by the server
        except IndexError:
            curl = self._connection()
        received = _Received()
        curl.setopt(pycurl.URL, self._url + path)
        curl.setopt(pycurl.HTTPHEADER, [*self._headers, *headers])
        curl.setopt(pycurl.WRITEFUNCTION, received.take)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(self._left_s() * 1e3)))
        if body is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POSTFIELDS, body)
        try:
            curl.perform()
        except pycurl.error as error:
            curl.close()
            if received.too_large:
                raise UnreadableError(f"an answer of more than {_MOST} bytes") from error
            if error.args[0] in _UNREACHABLE | _LOST:
                self.close()  # the others lead to the same server; new ones look its name up again
            raise _told(*error.args) from error
        answer = Answer(curl.getinfo(pycurl.RESPONSE_CODE), b"".join(received.parts))
        self._idle.append(curl)
        return answer

    def _left_s(self) -> float:
        deadline = current()
        return self._timeout_s if deadline is None else deadline.left()

    def _connection(self) -> pycurl.Curl:
        """For one thread at a time. It is connected when it is used first, and again where the server has hung up."""
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
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _told(code: int, message: str) -> OSError:
    """libcurl's error as Python says it."""
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TimeoutError(message)
    if code in _UNREACHABLE:
        return ConnectionRefusedError(message)
    if code in _LOST:
        return ConnectionResetError(message)
    return UnreadableError(f"{message} (libcurl's error {code})")


DOWN_S: Final = 2.0  # for which a node that did not answer is tried last


def http_to(
    urls: Sequence[str],
    headers: Sequence[str] = (),
    *,
    timeout_s: float,
    login: tuple[str, str] | None = None,
    ca_certs: Path | None = None,
) -> Http | Nodes:
    """A client of these addresses, round robin; the other arguments go to each `Http`."""
    nodes = [Http(url, headers, timeout_s=timeout_s, login=login, ca_certs=ca_certs) for url in urls]
    return Nodes(nodes) if len(nodes) > 1 else nodes[0]


class Nodes:
    """Like `Http`, of several nodes. A request may be sent twice, so it only reads. Shared by threads."""

    def __init__(self, nodes: Sequence[Http]) -> None:
        self._nodes = list(nodes)
        self._turn = itertools.count()
        self._down_until = [0.0] * len(self._nodes)

    def get(self, path: str) -> Answer:
        """Raises as `Http.get`, the error of the last node that was tried."""
        return self._first(lambda node: node.get(path))

    def post(self, path: str, body: bytes, headers: Sequence[str] = ()) -> Answer:
        """Raises as `Http.post`, the error of the last node that was tried."""
        return self._first(lambda node: node.post(path, body, headers))

    def _first(self, ask: Callable[[Http], Answer]) -> Answer:
        """The first answer. Where a node took the whole time, none is left for another."""
        *others, last = self._in_turn()
        for place in others:
            try:
                return self._ask(place, ask)
            except ConnectionError:
                if (deadline := current()) is not None and not deadline.left():
                    raise
        return self._ask(last, ask)

    def _in_turn(self) -> list[int]:
        """Round robin, and those that did not answer lately last."""
        first, now = next(self._turn), time.monotonic()
        places = [(first + n) % len(self._nodes) for n in range(len(self._nodes))]
        return sorted(places, key=lambda place: self._down_until[place] > now)

    def _ask(self, place: int, ask: Callable[[Http], Answer]) -> Answer:
        try:
            answer = ask(self._nodes[place])
        except (ConnectionError, TimeoutError):
            self._down_until[place] = time.monotonic() + DOWN_S
            raise
        self._down_until[place] = 0.0
        return answer

    def close(self) -> None:
        """Close the connections that no thread is using."""
        for node in self._nodes:
            node.close()
