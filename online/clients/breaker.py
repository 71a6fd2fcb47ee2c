"""Circuit breaker: a service that has failed several times in a row is not called for a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from circuitbreaker import CircuitBreaker

from online.clients.base import OUT_OF_TIME, Answer, Client, Query, ServiceError, StoredError
from online.clients.deadline import FAIR_S, Deadline

FAILURES = 3  # in a row, after which a service is left alone
PROBE_S = 0.5  # how long the breaker is open; then one request at a time probes the service

Result = TypeVar("Result")


class LeftAloneError(ServiceError):
    """The service was not called, as its circuit breaker is open."""


class Breaker:
    """Circuit breaker of one service, shared by threads. States: closed, open (no calls), half_open (one call probes).

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

    def call(self, ask: Callable[[], Result], *, fair: bool = True, always: bool = False) -> Result:
        """Call ``ask``, and count how it ends. Raises LeftAloneError, or what ``ask`` raises.

        Args:
            fair: ``ask`` has enough time, so that running out of it counts as a failure.
            always: call a service even while the breaker is open.
        """
        probes = self._admit(always)
        try:
            result = ask()
        except StoredError:
            self._circuit.reset()
            raise
        except ServiceError as error:
            if fair or error.what != OUT_OF_TIME:
                self._count(error)
            raise
        finally:
            if probes:
                self._probing = False
        self._circuit.reset()
        return result

    def _admit(self, always: bool) -> bool:
        """Whether this call is the one that probes. Raises LeftAloneError."""
        if self._dead:
            raise LeftAloneError(self._service, self._dead)
        if always or self._circuit.closed:
            return False
        with self._lock:
            if (refusal := self.refusal) is not None:
                raise refusal
            self._probing = True
        return True

    @property
    def refusal(self) -> LeftAloneError | None:
        """The error with which a call would be refused now; None: it would be made."""
        if self._dead:
            return LeftAloneError(self._service, self._dead)
        if self._circuit.closed or not (self._circuit.opened or self._probing):
            return None
        return LeftAloneError(self._service, f"is left alone for a moment: it {_why(self._circuit)}")

    def _count(self, error: ServiceError) -> None:
        with self._lock, suppress(ServiceError), self._circuit:
            raise error


def _why(circuit: CircuitBreaker) -> str:
    last = circuit.last_failure
    return last.what if isinstance(last, ServiceError) else "failed"


@dataclass(frozen=True, slots=True)
class Asking(Generic[Query, Answer]):
    """A client as one request may use it: by a deadline, and not while the service is left alone, unless ``strict``.

    ``hurried``: the request has less time than others get. That it runs out of it says nothing of the service.
    """

    client: Client[Query, Answer]
    breaker: Breaker
    deadline: Deadline
    strict: bool = False
    hurried: bool = False

    def call(self, query: Query) -> Answer:
        """Raises ServiceError."""
        fair = not self.hurried and min(self.deadline.left(), self.client.timeout_s) >= FAIR_S
        return self.breaker.call(partial(self.client.call, query, self.deadline), fair=fair, always=self.strict)
