"""HTTP by libcurl: a call costs a third of the processor time that it costs in Python, most of it without the GIL.

It keeps `deadline.current` as a whole: connecting, sending, and an answer that comes a byte now and then.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import certifi
import pycurl

from online.clients.addresses import addresses_of
from online.clients.deadline import current

_BUFFER: Final = 128 * 1024  # bytes that are handed over at once
_MOST: Final = 16 * 1024 * 1024  # bytes of an answer; those that a request waits for have far less
_LOST: Final = frozenset(
    {pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_PARTIAL_FILE, pycurl.E_HTTP2}
)
_UNREACHABLE: Final = frozenset({pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST})


class UnreadableError(OSError):
    """What came back is not HTTP, or the connection could not be made as it was told to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: its status, and its body."""

    status: int
    body: bytes


class _Received:
    """What has come of one answer."""

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
        place = urlsplit(url)
        self._url = url
        self._host = place.hostname or ""
        self._port = place.port
        self._headers = [*headers, "Expect:"]  # send a body at once, without asking whether it is welcome
        self._timeout_s = timeout_s
        self._login = login
        self._ca_certs = ca_certs
        self._idle: deque[pycurl.Curl] = deque()

    def get(self, path: str) -> Answer:
        """Raises as `post`."""
        return self._ask(path, None)

    def post(self, path: str, body: bytes, headers: Sequence[str] = ()) -> Answer:
        """The answer, whatever its status. ``headers``: of this call, beside the connection's.

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
        addresses = self._addresses()
        curl = pycurl.Curl()
        if addresses != [self._host]:
            curl.setopt(pycurl.RESOLVE, [f"{self._host}:{self._port}:{','.join(addresses)}"])
        curl.setopt(pycurl.NOSIGNAL, 1)  # as threads use it
        curl.setopt(pycurl.PROXY, "")  # none between us and our own service, whatever the environment names
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        if self._login is not None:
            curl.setopt(pycurl.USERNAME, self._login[0].encode())
            curl.setopt(pycurl.PASSWORD, self._login[1].encode())
        curl.setopt(pycurl.CAINFO, str(self._ca_certs or certifi.where()))
        return curl

    def _addresses(self) -> list[str]:
        """libcurl's own look-up would hold up a call beyond its time."""
        try:
            return addresses_of(self._host, self._left_s())
        except socket.gaierror as error:
            raise ConnectionRefusedError(str(error)) from error

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
