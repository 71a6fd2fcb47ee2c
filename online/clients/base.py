"""The one shape of the four clients, and what they share: the deadline, the circuit breaker, HTTP.

A query gets an answer or one `ServiceError`, by its deadline. A service that has just failed again and again is left
alone for a moment. HTTP is by libcurl: a call costs a third of the processor time that it costs in Python, most of it
without the GIL, and libcurl keeps a deadline as a whole: looking a name up, connecting, sending, and an answer that
comes a byte now and then.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
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
Answer = TypeVar("Answer")
QueryIn = TypeVar("QueryIn", contravariant=True)
AnswerOut = TypeVar("AnswerOut", covariant=True)


class ServiceError(RecsysError):
    """A service is down, too slow, or answered with something that is not an answer.

    Attributes:
        service: its name as the user of the API sees it, for example ``elasticsearch``.
        what: one sentence.
    """

    def __init__(self, service: str, what: str) -> None:
        self.service = service
        self.what = what
        super().__init__(f"{service}: {what}")


class StoredError(ServiceError):
    """The service is well; what it holds of this user, or of this release, cannot be used."""


class GoneError(StoredError):
    """The requested index, feature service or version of a model does not exist, or no longer."""


class LeftAloneError(ServiceError):
    """The service was not called, as its circuit breaker is open."""


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A moment of the monotonic clock, in seconds; the earlier one is the smaller one.

    A socket's timeout counts each read: a service that sends a byte every 50 ms never runs into it. Within `until`, no
    operation of this thread goes beyond the deadline.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds until then, never below zero."""
        return max(0.0, self.at - time.monotonic())

    def share(self, part: float) -> Deadline:
        """Deadline after ``part`` (0 to 1) of the time left."""
        return Deadline.after(part * self.left())


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def current() -> Deadline | None:
    """The deadline of what this thread is calling; None: it has none."""
    return _current.get()


def left_s(otherwise: float) -> float:
    """Seconds until the deadline of what this thread is calling, or ``otherwise`` where it has none."""
    return otherwise if (deadline := current()) is None else deadline.left()


@contextmanager
def until(deadline: Deadline) -> Iterator[None]:
    """Calls of this thread in the block end by ``deadline``."""
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)


class Caller(Protocol[QueryIn, AnswerOut]):
    """A `Client`, or one with the limits of a request (`LimitedClient`)."""

    def call(self, query: QueryIn, /) -> AnswerOut: ...


class Client(ABC, Generic[Query, Answer]):
    """A pooled connection to one service, made once and shared by threads, but not across a fork.

    Subclasses write `_call`, `_ping` and `close`, and name the exceptions of their library in ``library_errors``.
    Their sockets keep `current`.

    Attributes:
        timeout_s: of a whole call, connecting included, however slowly its answer comes.
    """

    service: ClassVar[str]
    library_errors: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    timeout_s: float = 1.0

    def call(self, query: Query, deadline: Deadline | None = None) -> Answer:
        """Return the answer. Raises ServiceError within the service's timeout, and by the deadline.

        All calls only read, so one is repeated when the service had closed the connection and most of the time is left.
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
    def _call(self, query: Query) -> Answer: ...

    @abstractmethod
    def _ping(self) -> str: ...

    @abstractmethod
    def close(self) -> None:
        """Close the connections. The client is not used afterwards."""

    @contextmanager
    def _limited(self, what: str, deadline: Deadline | None = None) -> Iterator[Deadline]:
        """Limit, time and log one call; turn the library's errors into ServiceError."""
        started = time.perf_counter()
        limit = min(each for each in (Deadline.after(self.timeout_s), deadline, current()) if each is not None)
        try:
            if not limit.left():
                raise self._wrong(OUT_OF_TIME)
            with until(limit):
                yield limit
        except ServiceError as error:
            log.warning("%s %s failed after %.1f ms: %s", self.service, what, _ms_since(started), error.what)
            raise
        except self.library_errors as error:
            log.warning("%s %s failed after %.1f ms: %r", self.service, what, _ms_since(started), error)
            raise self._wrong(_explain(error) if limit.left() else OUT_OF_TIME) from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # read from an answer of another shape
            log.exception("%s %s failed after %.1f ms", self.service, what, _ms_since(started))
            raise self._wrong(f"answered with something that cannot be read ({type(error).__name__})") from error
        else:
            log.debug("%s %s took %.2f ms", self.service, what, _ms_since(started))

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


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3


class Breaker:
    """The circuit breaker of one service, shared by the threads of a process: closed, open, or half_open (probing).

    The library keeps the count and the clock. That one request at a time probes is added here: with a service that
    keeps silent, every other one would wait for it, too.
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
        """Leave the service alone whatever it does; None: no longer. For measurements of what is answered without."""
        self._dead = why

    @property
    def refusal(self) -> LeftAloneError | None:
        """The error with which a call would be refused now; None: it would be made."""
        if self._dead:
            return LeftAloneError(self._service, self._dead)
        if self._circuit.closed or not (self._circuit.opened or self._probing):
            return None
        last = self._circuit.last_failure
        why = last.what if isinstance(last, ServiceError) else "failed"
        return LeftAloneError(self._service, f"is left alone for a moment: it {why}")

    def call(self, ask: Callable[[], Answer], *, fair: bool = True, always: bool = False) -> Answer:
        """Call ``ask``, and count how it ends. Raises LeftAloneError, or what ``ask`` raises.

        Args:
            fair: ``ask`` has enough time, so that running out of it counts as a failure.
            always: call a service even while the breaker is open.
        """
        with self._lock:
            if (refusal := self.refusal) is not None and (self._dead or not always):
                raise refusal
            probes = not (always or self._circuit.closed)
            self._probing = self._probing or probes
        try:
            answer = ask()
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
        return answer


@dataclass(frozen=True, slots=True)
class LimitedClient(Generic[Query, Answer]):
    """A client as one request may use it: by a deadline, and not while the service is left alone, unless ``strict``.

    ``hurried``: the request has less time than others get. That it runs out of it says nothing of the service.
    """

    client: Client[Query, Answer]
    breaker: Breaker
    deadline: Deadline
    strict: bool = False
    hurried: bool = False

    def call(self, query: Query) -> Answer:
        """Call through the breaker, by the deadline. Raises ServiceError."""
        fair = not self.hurried and min(self.deadline.left(), self.client.timeout_s) >= FAIR_S
        return self.breaker.call(partial(self.client.call, query, self.deadline), fair=fair, always=self.strict)


# --- HTTP, to one server or to whichever of several answers

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
class HttpAnswer:
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

    def get(self, path: str) -> HttpAnswer:
        """Raises as `post`."""
        return self._call(path, None, ())

    def post(self, path: str, body: bytes, *headers: str) -> HttpAnswer:
        """Return the answer, whatever its status.

        Raises TimeoutError, ConnectionRefusedError where nothing answers, ConnectionResetError where the connection
        ended before the whole answer was there, and UnreadableError, also for an answer of more than 16 MiB.
        """
        return self._call(path, body, headers)

    def put(self, path: str, body: bytes, *headers: str) -> HttpAnswer:
        """As `post`."""
        return self._call(path, body, headers, "PUT")

    def _call(self, path: str, body: bytes | None, headers: Sequence[str], method: str = "") -> HttpAnswer:
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

    def _perform(self, node: _Node, path: str, body: bytes | None, headers: Sequence[str], method: str) -> HttpAnswer:
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
        return HttpAnswer(curl.getinfo(pycurl.RESPONSE_CODE), b"".join(parts))

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


class HttpClient(Client[Query, Answer]):
    """A client of a service that answers in JSON."""

    gone: ClassVar[str]  # what the service has no more of, where it answers 404

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
