"""The one shape of the four clients: a query gets an answer or one clear error, within the timeout."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from data_exchange_center.errors import RecsysError
from online.clients.deadline import Deadline, current, until

log = logging.getLogger(__name__)

OUT_OF_TIME = "did not answer in time"

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


@dataclass(frozen=True, slots=True)
class Pong:
    """A service is ready to answer."""

    version: str
    took_ms: float


class Asks(Protocol[QueryIn, AnswerOut]):
    """A callable service: answers a query, or raises ServiceError."""

    def call(self, query: QueryIn, /) -> AnswerOut: ...


class Client(ABC, Generic[Query, Answer]):
    """A pooled connection to one service, made once and shared by threads, but not across a fork.

    Subclasses write `_call`, `_ping` and `close`, and name the exceptions of their library in ``library_errors``.
    What they call keeps `deadline.current`: their sockets do, or they pass on what is left of it.

    Attributes:
        timeout_s: of a whole call, connecting included, however slowly its answer comes.
    """

    service: ClassVar[str]
    library_errors: ClassVar[tuple[type[Exception], ...]] = ()
    timeout_s: float = 1.0

    def call(self, query: Query, deadline: Deadline | None = None) -> Answer:
        """The answer. Raises ServiceError within the service's timeout, and by the deadline.

        All calls only read, so one is repeated when the service had closed the connection and most of the time is left.
        """
        with self._asking("call", deadline) as limit:
            at_first = limit.left()
            try:
                return self._call(query)
            except self.library_errors as error:
                if not self._is_lost(error) or limit.left() < at_first / 2:
                    raise
            return self._call(query)

    def ping(self) -> Pong:
        """The service's version, once it is ready. Raises ServiceError when it is not."""
        started = time.perf_counter()
        with self._asking("ping"):
            version = self._ping()
        return Pong(version, (time.perf_counter() - started) * 1e3)

    @abstractmethod
    def _call(self, query: Query) -> Answer: ...

    @abstractmethod
    def _ping(self) -> str: ...

    @abstractmethod
    def close(self) -> None:
        """Close the connections. The client is not used afterwards."""

    @contextmanager
    def _asking(self, what: str, deadline: Deadline | None = None) -> Iterator[Deadline]:
        """Limit, time and log one call; turn the library's errors into ServiceError."""
        started = time.perf_counter()
        given = (Deadline.after(self.timeout_s), deadline, current())
        limit = min(each for each in given if each is not None)
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
            kind = GoneError if self._is_gone(error) else ServiceError
            raise kind(self.service, self._explain(error) if limit.left() else OUT_OF_TIME) from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # read from an answer of another shape
            log.exception("%s %s failed after %.1f ms", self.service, what, _ms_since(started))
            raise self._wrong(f"answered with something that cannot be read ({type(error).__name__})") from error
        else:
            log.debug("%s %s took %.2f ms", self.service, what, _ms_since(started))

    def _left_s(self) -> float:
        """Seconds that are left of the call that this thread makes; for libraries that want a timeout above zero."""
        deadline = current()
        return max(deadline.left(), 1e-3) if deadline else self.timeout_s

    def _is_lost(self, error: Exception) -> bool:
        """Whether the library's error says that the connection ended before an answer."""
        return False

    def _is_gone(self, error: Exception) -> bool:
        """Whether the library's error says that the requested thing does not exist."""
        return False

    def _explain(self, error: Exception) -> str:
        """One sentence for the user of the API: no addresses, no stack."""
        if any(word in type(error).__name__.lower() for word in ("timeout", "deadline")):
            return OUT_OF_TIME
        if "connect" in type(error).__name__.lower():
            return "cannot be reached"
        return f"answered with an error ({type(error).__name__})"

    def _wrong(self, what: str) -> ServiceError:
        return ServiceError(self.service, what)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
