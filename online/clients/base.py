"""The one shape of the four clients: a query gets an answer or one clear error, within the timeout."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from data_exchange_center.errors import RecsysError

log = logging.getLogger(__name__)

Query = TypeVar("Query")
Answer = TypeVar("Answer")


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


class GoneError(ServiceError):
    """What was asked for is not there, or no longer: an index, a feature service, a version of a model."""


@dataclass(frozen=True, slots=True)
class Pong:
    """A service is ready to answer."""

    version: str
    took_ms: float


class Client(ABC, Generic[Query, Answer]):
    """A pooled connection to one service, made once and shared by threads, but not across a fork.

    Subclasses write `_call`, `_ping` and `close`, and name the exceptions of their library in ``library_errors``.
    Nothing is retried: the caller has an answer or an error within the service's timeout.
    """

    service: ClassVar[str]
    library_errors: ClassVar[tuple[type[Exception], ...]] = ()

    def call(self, query: Query) -> Answer:
        """The answer. Raises ServiceError within the service's timeout."""
        with self._asking("call"):
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
    def _asking(self, what: str) -> Iterator[None]:
        """Time and log one call; turn the library's errors into ServiceError."""
        started = time.perf_counter()
        try:
            yield
        except ServiceError as error:
            log.warning("%s %s failed after %.1f ms: %s", self.service, what, _ms_since(started), error.what)
            raise
        except self.library_errors as error:
            log.warning("%s %s failed after %.1f ms: %r", self.service, what, _ms_since(started), error)
            kind = GoneError if self._is_gone(error) else ServiceError
            raise kind(self.service, self._explain(error)) from error
        else:
            log.debug("%s %s took %.2f ms", self.service, what, _ms_since(started))

    def _is_gone(self, error: Exception) -> bool:
        """Whether the library's error says that what was asked for does not exist."""
        return False

    def _explain(self, error: Exception) -> str:
        """One sentence for the user of the API: no addresses, no stack."""
        if any(word in type(error).__name__.lower() for word in ("timeout", "deadline")):
            return "did not answer in time"
        if "connect" in type(error).__name__.lower():
            return "cannot be reached"
        return f"answered with an error ({type(error).__name__})"

    def _wrong(self, what: str) -> ServiceError:
        return ServiceError(self.service, what)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
