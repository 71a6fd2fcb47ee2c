"""The one shape of the four clients, and what they share: the deadline, the circuit breaker, HTTP.

A query gets an answer or one `ServiceError`, by its deadline. A service that fails again and again is left alone for a
moment. HTTP is by libcurl: it takes a third of Python's processor time, most of it without the GIL, and keeps one
deadline for the whole call: DNS lookup, connecting, sending, and an answer that trickles in.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

import certifi
import orjson
import pycurl
from circuitbreaker import CircuitBreaker

from data_exchange_center.errors import RecsysError

log = logging.getLogger(__name__)

OUT_OF_TIME = "did not answer in time"
FAIR_S = 0.03  # a call that ran out of time says nothing of the service if it had less than that
FAILURES = 3  # in a row, after which the circuit opens
PROBE_S = 0.5  # how long the breaker is open; then one request at a time probes the service

Query = TypeVar("Query")
Found = TypeVar("Found")
QueryIn = TypeVar("QueryIn", contravariant=True)
FoundOut = TypeVar("FoundOut", covariant=True)


class ServiceError(RecsysError):
    """A service is down, too slow, or answered with something that is not an answer.

    Attributes:
        service: its name as the user of the API sees it, for example ``elasticsearch``.
        what: a sentence without its subject, the service, for example ``did not answer in time``.
    """

    def __init__(self, service: str, what: str) -> None:
        self.service, self.what = service, what
        super().__init__(f"{service}: {what}")


class StoredError(ServiceError):
    """The service is well; what it holds of this user, or of this release, cannot be used."""


class GoneError(StoredError):
    """The requested index, feature service or version of a model does not exist, or no longer."""


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A time on the monotonic clock, in seconds; by default never. An earlier one compares as smaller.

    A socket's timeout applies to each read alone: a service that sends a byte every 50 ms never exceeds it. Within
    `until`, no operation of this thread goes beyond the deadline.
    """

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds until then, never below zero."""
        return max(0.0, self.at - time.monotonic())

    def share(self, part: float) -> Deadline:
        """Deadline after ``part`` (0 to 1) of the time left."""
        return Deadline.after(part * self.left())


NEVER: Final = Deadline()
_current: ContextVar[Deadline] = ContextVar("deadline", default=NEVER)
current = _current.get  # the deadline of what this thread is calling


@contextmanager
def until(deadline: Deadline) -> Iterator[None]:
    """Calls of this thread in the block end by ``deadline``."""
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)


class Caller(Protocol[QueryIn, FoundOut]):
    """A `Client`, or one with the limits of a request (`LimitedClient`)."""

    def call(self, query: QueryIn, /) -> FoundOut: ...


class Client(ABC, Generic[Query, Found]):
    """A pooled connection to one service, made once and shared by threads, but not across a fork.

    Subclasses write `_call`, `_ping` and `close`, and name the exceptions of their library in ``library_errors``.
    Their sockets keep the `current` deadline.

    Attributes:
        timeout_s: of a whole call, connecting included, however slowly its answer comes.
    """

    service: ClassVar[str]
    library_errors: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    timeout_s: float = 1.0

    def call(self, query: Query, deadline: Deadline = NEVER) -> Found:
        """Return the answer. Raises ServiceError within the service's timeout, and by the deadline.

        Calls only read, so one is retried when the service had closed the connection and half of the time is left.
        """
        with self._limited("call", deadline) as limit:
            at_first = limit.left()
            try:
                return self._call(query)
            except self.library_errors as error:
                if not self._is_lost(error) or limit.left() < at_first / 2:
                    raise
            return self._call(query)

    def ping(self) -> str:
        """Return the service's version, once it is ready. Raises ServiceError when it is not."""
        with self._limited("ping"):
            return self._ping()

    @abstractmethod
    def _call(self, query: Query) -> Found: ...

    @abstractmethod
    def _ping(self) -> str: ...

    @abstractmethod
    def close(self) -> None:
        """Close the connections. The client is not used afterwards."""

    @contextmanager
    def _limited(self, what: str, deadline: Deadline = NEVER) -> Iterator[Deadline]:
        """Limit one call; log an error with the call's time, and turn the library's errors into ServiceError."""
        started = time.monotonic()
        limit = Deadline(min(started + self.timeout_s, deadline.at, current().at))
        try:
            if limit.at <= started:
                raise self._wrong(OUT_OF_TIME)
            with until(limit):
                yield limit
        except Exception as error:
            failed = f"{self.service} {what} failed after {(time.monotonic() - started) * 1e3:.1f} ms"
            if isinstance(error, ServiceError):
                log.warning("%s: %s", failed, error.what)
                raise
            if isinstance(error, self.library_errors):
                log.warning("%s: %r", failed, error)
                raise self._wrong(_explain(error) if limit.left() else OUT_OF_TIME) from error
            if isinstance(error, (LookupError, TypeError, ValueError, AttributeError)):  # an answer of another shape
                log.exception(failed)
                raise self._wrong(f"answered with something that cannot be read ({type(error).__name__})") from error
            raise

    def _is_lost(self, error: Exception) -> bool:
        """Whether the library's error says that the connection ended before an answer."""
        return isinstance(error, ConnectionResetError)

    def _wrong(self, what: str) -> ServiceError:
        return ServiceError(self.service, what)


def _explain(error: Exception) -> str:
    """One sentence for the user of the API: no addresses, no stack."""
    name = type(error).__name__
    if "timeout" in name.lower():
        return OUT_OF_TIME
    return "cannot be reached" if "connect" in name.lower() else f"answered with an error ({name})"


class Breaker:
    """The circuit breaker of one service, shared by the threads of a process: closed, open, or half_open (probing).

    The library keeps the count and the clock. Added here: only one request at a time probes, as all others would wait
    for a silent service, too.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._circuit = CircuitBreaker(FAILURES, PROBE_S, ServiceError, service)
        self._lock = threading.Lock()
        self._probing = False
        self._dead: str | None = None

    @property
    def state(self) -> str:
        return "open" if self._dead else str(self._circuit.state)

    def declare_dead(self, why: str | None) -> None:
        """Refuse all calls, with this reason; None: no longer. For measurements of answers without the service."""
        self._dead = why

    @property
    def refusal(self) -> ServiceError | None:
        """The error with which a call would be refused now; None: it would be made."""
        if self._dead:
            return ServiceError(self._service, self._dead)
        if self._circuit.closed or not (self._circuit.opened or self._probing):
            return None
        last = self._circuit.last_failure
        why = last.what if isinstance(last, ServiceError) else "failed"
        return ServiceError(self._service, f"is left alone for a moment: it {why}")

    def call(self, ask: Callable[[], Found], *, fair: bool = True, always: bool = False) -> Found:
        """Call ``ask``, and count how it ends. Raises what it raises, and ServiceError where it is not called.

        Args:
            fair: ``ask`` has enough time, so that running out of it counts as a failure.
            always: call a service even while the breaker is open.
        """
        with self._lock:
            if (refusal := self.refusal) is not None and (self._dead or not always):
                raise refusal
            probes = not (always or self._circuit.closed)
            self._probing |= probes
        try:
            found = ask()
        except StoredError:
            self._circuit.reset()
            raise
        except ServiceError as error:
            if fair or error.what != OUT_OF_TIME:
                with self._lock, suppress(ServiceError), self._circuit:
                    raise error
            raise
        finally:
            if probes:
                self._probing = False
        self._circuit.reset()
        return found


@dataclass(frozen=True, slots=True)
class LimitedClient(Generic[Query, Found]):
    """A client limited by one request's deadline and, unless ``strict``, by the circuit breaker.

    ``short_budget``: the request has less time than others, so its timeouts do not count as failures of the service.
    """

    client: Client[Query, Found]
    breaker: Breaker
    deadline: Deadline
    strict: bool = False
    short_budget: bool = False

    def call(self, query: Query) -> Found:
        """Call through the breaker, by the deadline. Raises ServiceError."""
        fair = not self.short_budget and min(self.deadline.left(), self.client.timeout_s) >= FAIR_S
        return self.breaker.call(partial(self.client.call, query, self.deadline), fair=fair, always=self.strict)


# --- HTTP, to one server or to whichever of several answers

DOWN_S: Final = 2.0  # how long a server that did not answer is tried last
_UNIX: Final = "unix:"
_SOCKET_PATH_BYTES: Final = 107
_OVER_SOCKET: Final = "http://localhost"  # scheme and host of a request over a socket
_BUFFER: Final = 128 * 1024  # bytes, libcurl's receive buffer
_MOST: Final = 16 * 1024 * 1024  # bytes of an answer; those that a request waits for have far less


class UnreadableError(OSError):
    """The answer is not HTTP or too long, or the connection could not be set up (TLS, for example)."""


_LOST: Final = (pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_PARTIAL_FILE, pycurl.E_HTTP2)
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
    """A server's status, and the body."""

    status: int
    body: bytes


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


def _socket_address(path: Path) -> str:
    """The path, or one by a descriptor of its folder: a socket's address has 107 bytes at most."""
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES or not path.parent.is_dir():
        return str(path)
    return f"/proc/self/fd/{_descriptor(path.parent)}/{path.name}"


@cache
def _descriptor(folder: Path) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)  # stays open


class Http:
    """Kept-alive connections, as many as threads use at once. Shared by threads, not across a fork.

    Several servers are called round robin, past those that do not answer. So a call may be made twice: it only reads.
    """

    def __init__(
        self, *urls: str, timeout_s: float, login: tuple[str, str] | None = None, ca_certs: Path | None = None
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
        return self._call(path, None, ())

    def post(self, path: str, body: bytes, *headers: str) -> HttpAnswer:
        """Return the answer, whatever its status.

        Raises TimeoutError, ConnectionRefusedError where nothing answers, ConnectionResetError where the connection
        ended before the whole answer was there, and UnreadableError, also for an answer of more than 16 MiB.
        """
        return self._call(path, body, headers)

    def _call(self, path: str, body: bytes | None, headers: Sequence[str]) -> HttpAnswer:
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

    def _perform(self, node: _Node, path: str, body: bytes | None, headers: Sequence[str]) -> HttpAnswer:
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

        curl.setopt(pycurl.URL, (_OVER_SOCKET if node.url.startswith(_UNIX) else node.url) + path)
        curl.setopt(pycurl.HTTPHEADER, ["Expect:", *headers])  # send a body at once, without waiting for 100 Continue
        curl.setopt(pycurl.WRITEFUNCTION, take)
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
            if size > _MOST:
                raise UnreadableError(f"an answer of more than {_MOST} bytes") from error
            code, message = error.args
            kind = _OSERRORS.get(code, UnreadableError)
            if issubclass(kind, ConnectionError):
                node.close()  # the other connections lead to the same server; new ones look its name up again
            if kind is not UnreadableError:
                node.down_until = time.monotonic() + DOWN_S
            raise kind(f"{message} (libcurl's error {code})") from error
        node.down_until = 0.0
        node.idle.append(curl)
        return HttpAnswer(curl.getinfo(pycurl.RESPONSE_CODE), b"".join(parts))

    def _connection(self, url: str) -> pycurl.Curl:
        """Connection for one thread at a time. It connects at its first use, and again where the server has hung up."""
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)  # as threads use it
        curl.setopt(pycurl.PROXY, "")  # none between us and our own service, whatever the environment names
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        if url.startswith(_UNIX):
            curl.setopt(pycurl.UNIX_SOCKET_PATH, _socket_address(Path(url.removeprefix(_UNIX))))
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
    """A client of a service that answers in JSON."""

    gone: ClassVar[str]  # what a 404 means, as `ServiceError.what`

    def __init__(self, http: Http, timeout_s: float) -> None:
        self._http, self.timeout_s = http, timeout_s

    def _read(self, answer: HttpAnswer) -> dict[str, Any]:
        """The content of an answer. Raises GoneError for a 404, ServiceError for another status."""
        if answer.status == HTTPStatus.NOT_FOUND:
            raise GoneError(self.service, self.gone)
        if answer.status != HTTPStatus.OK:
            raise self._wrong(f"answered with status {answer.status}")
        return dict(orjson.loads(answer.body))

    def close(self) -> None:
        self._http.close()
