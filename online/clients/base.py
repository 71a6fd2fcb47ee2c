"""The one shape of the four clients, and the deadline and the circuit breaker that they share.

A query gets an answer or one `ServiceError`, by its deadline. A service that has just failed again and again is left
alone for a moment.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Generic, Protocol, TypeVar

from circuitbreaker import CircuitBreaker

from data_exchange_center.errors import RecsysError

log = logging.getLogger(__name__)

OUT_OF_TIME = "did not answer in time"
FAIR_S = 0.03  # a call that ran out of time says nothing of the service if it had less than that
FAILURES = 3  # in a row, after which a service is left alone
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


@dataclass(frozen=True, slots=True)
class Pong:
    """A service is ready to answer."""

    version: str
    took_ms: float


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

    def ping(self) -> Pong:
        """Return the service's version, once it is ready. Raises ServiceError when it is not."""
        started = time.perf_counter()
        with self._limited("ping"):
            version = self._ping()
        return Pong(version, _ms_since(started))

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
