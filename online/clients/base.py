"""The one shape of the four clients, and what they share: the deadline, the stopwatch and the circuit breaker.

A query gets an answer or one `ServiceError`, by its deadline. A service that fails again and again is not called for a
moment.
"""

import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import ClassVar, Final, Generic, Literal, TypeVar

from data_exchange_center.errors import RecsysError

log = logging.getLogger(__name__)

OUT_OF_TIME = "did not answer in time"
FAIR_S = 0.05  # a call that had less time than that says nothing about the service when it runs out of time
FAILURES = 3  # in a row, after which the circuit opens
# how long the breaker is open; then one request at a time probes the service
PROBE_S = 0.5

# of the code that reads an answer of another shape
_UNREADABLE: Final = (LookupError, TypeError, ValueError, AttributeError)

Query = TypeVar("Query")
Found = TypeVar("Found")


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
    """The service is healthy; what it holds of this user, or of this release, cannot be used."""


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
    def after(cls, seconds: float) -> "Deadline":
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds until then, never below zero."""
        return max(0.0, self.at - time.monotonic())

    def share(self, part: float) -> "Deadline":
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


@dataclass(frozen=True, slots=True)
class Stage:
    """Timing of one stage: the calls of a service, or work of the server itself."""

    began: float  # seconds of `time.perf_counter`
    seconds: float
    failed: bool = False


@dataclass(slots=True)
class Stopwatch:
    """Timings of one request's stages; they may overlap.

    The caller that makes it can read the stages of a request that failed, too.

    Attributes:
        began: when the request was complete, in seconds of `time.perf_counter`.
        stages: those that have ended, in the order of a request; those of extras come last.
    """

    began: float = field(default_factory=time.perf_counter)
    stages: dict[str, Stage] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as one stage."""
        began = time.perf_counter()
        failed = False
        try:
            yield
        except ServiceError:
            failed = True
            raise
        finally:
            self.stages[name] = Stage(began, time.perf_counter() - began, failed)

    def took_ms(self) -> dict[str, float]:
        """Milliseconds of each stage, and in total so far, to two places."""
        took = {
            name: round(stage.seconds * 1e3, 2) for name, stage in self.stages.items()
        }
        return {**took, "total": round((time.perf_counter() - self.began) * 1e3, 2)}


class Client(ABC, Generic[Query, Found]):
    """A pooled connection to one service, made once and shared by threads, but not across a fork.

    Subclasses write `_call`, `_ping` and `close`, and name the exceptions of their library in ``library_errors``.
    Their sockets keep the `current` deadline.

    Attributes:
        lost_errors: those of the library's errors that say that the connection ended before an answer.
        timeout_s: of a whole call, connecting included, however slowly its answer comes.
        breaker: the circuit breaker of the service. Clients of one service may share one.
    """

    service: ClassVar[str]
    library_errors: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    lost_errors: tuple[type[Exception], ...] = (ConnectionResetError,)

    def __init__(self, timeout_s: float = 1.0) -> None:
        self.timeout_s = timeout_s
        self.breaker = Breaker(self.service)

    def call(
        self, query: Query, deadline: Deadline = NEVER, *, strict: bool = True
    ) -> Found:
        """Return the answer. Raises ServiceError within the service's timeout, and by the deadline.

        Calls only read, so there is one retry when the service had closed the connection and half of the time is left.

        Args:
            strict: call the service even while its circuit breaker is open.
        """
        time_given = min(self.timeout_s, deadline.left())
        with (
            self.breaker.count(strict=strict, fair=time_given >= FAIR_S),
            self._limited("call", deadline) as limit,
        ):
            at_first = limit.left()
            try:
                return self._call(query)
            except self.lost_errors:
                if limit.left() < at_first / 2:
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
        limit = min(Deadline(started + self.timeout_s), deadline, current())
        expected: tuple[type[Exception], ...]
        expected = (ServiceError, *self.library_errors, *_UNREADABLE)
        try:
            with until(limit):
                if limit.at <= started:
                    raise ServiceError(self.service, OUT_OF_TIME)
                yield limit
        except expected as error:
            log.warning(
                "%s %s failed after %.1f ms: %r",
                self.service,
                what,
                (time.monotonic() - started) * 1e3,
                error,
                exc_info=isinstance(error, _UNREADABLE),
            )
            if isinstance(error, ServiceError):
                raise
            raise ServiceError(self.service, _explain(error, limit)) from error


def _explain(error: Exception, limit: Deadline) -> str:
    """One sentence for the user of the API: no addresses, no stack."""
    name = type(error).__name__
    if isinstance(error, _UNREADABLE):
        return f"answered with something that cannot be read ({name})"
    if "timeout" in name.lower() or not limit.left():
        return OUT_OF_TIME
    if "connect" in name.lower():
        return "cannot be reached"
    return f"answered with an error ({name})"


class Breaker:
    """The circuit breaker of one service, shared by the threads of a process: closed, open, or half_open (probing).

    `FAILURES` failures in a row open it for `PROBE_S`. Then one request at a time probes: all others would wait for a
    silent service, too.
    """

    clock = staticmethod(time.monotonic)

    def __init__(self, service: str) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._failures = 0  # in a row
        self._last_failure = ""
        self._open_until = -math.inf
        self._probing = False

    @property
    def state(self) -> Literal["closed", "half_open", "open"]:
        if self._failures < FAILURES:
            return "closed"
        return "open" if self.clock() < self._open_until else "half_open"

    @property
    def refusal(self) -> ServiceError | None:
        """The error with which a call would be refused now; None: it would be made."""
        state = self.state
        if state == "closed" or (state == "half_open" and not self._probing):
            return None
        what = f"is not called, its circuit breaker is open: it {self._last_failure}"
        return ServiceError(self._service, what)

    @contextmanager
    def count(self, *, strict: bool = True, fair: bool = True) -> Iterator[None]:
        """Count how the call in the block ends. Raises ServiceError where it is not to be made.

        Args:
            strict: call a service even while the breaker is open.
            fair: the call has enough time, so that running out of it counts as a failure.
        """
        with self._lock:
            probes = not strict and self.state != "closed"
            if probes and (refusal := self.refusal) is not None:
                raise refusal
            self._probing |= probes
        try:
            yield
            self._failures = 0
        except StoredError:
            self._failures = 0
            raise
        except ServiceError as error:
            if fair or error.what != OUT_OF_TIME:
                with self._lock:
                    self._failures += 1
                    self._last_failure = error.what
                    self._open_until = self.clock() + PROBE_S
            raise
        finally:
            if probes:
                self._probing = False
