"""Clients that ask a server without a pause, what they were answered, and faults of services meanwhile."""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psutil
import requests

from data_exchange_center.settings import Settings
from research.bench.processes import listening, listens_on

LATE = 0.03  # share of the answers that a stall of the machine may delay


@dataclass(frozen=True)
class Answered:
    """One request. Times are in seconds of `time.monotonic`."""

    began: float
    ended: float
    status: int  # 0: no answer at all
    body: dict[str, Any]

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def degraded(self) -> dict[str, dict[str, str]]:
        """The answer's degradations, by service."""
        return {each["service"]: each for each in self.body.get("degraded", [])}

    @property
    def whole(self) -> bool:
        return self.status == requests.codes.ok and not self.degraded


@dataclass
class Load:
    """Answers to the clients so far."""

    answers: list[Answered] = field(default_factory=list)

    def between(self, begin: float, end: float) -> list[Answered]:
        """Answers to requests that began and ended within a stretch of time."""
        return [
            each
            for each in tuple(self.answers)
            if begin <= each.began and each.ended <= end
        ]

    def wait(
        self,
        what: Callable[[Answered], bool],
        within_s: float,
        since: float | None = None,
    ) -> Answered:
        """The first answer to a request from now on, or ``since``, of which ``what`` is true. Fails without one."""
        now, seen = time.monotonic(), 0
        while time.monotonic() < now + within_s:
            fresh = self.between(now if since is None else since, float("inf"))
            for each in fresh[seen:]:
                if what(each):
                    return each
            seen = len(fresh)
            time.sleep(0.02)
        raise AssertionError(
            f"no such answer within {within_s} s; the last: {self.answers[-3:]}"
        )


@contextmanager
def load(
    url: str, bodies: Sequence[dict[str, Any]], clients: int, pause_s: float = 0.0
) -> Iterator[Load]:
    """``clients`` ask one after the other of ``bodies``, each ``pause_s`` after its last answer, until the block ends.

    A connection that the server closes between two requests is opened again, as every client of HTTP does.
    """
    load, stop, turn = Load(), threading.Event(), itertools.count()

    def go_on() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not stop.wait(pause_s):
                body = bodies[next(turn) % len(bodies)]
                began = time.monotonic()
                try:
                    response = session.post(f"{url}/ml/rec", json=body, timeout=30)
                    status, answer = response.status_code, response.json()
                except (requests.RequestException, ValueError) as error:
                    status, answer = 0, {"error": repr(error)}
                load.answers.append(Answered(began, time.monotonic(), status, answer))

    threads = [threading.Thread(target=go_on) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def few(some: Sequence[object], of: Sequence[object]) -> bool:
    """Whether ``some`` are no more than a stall of the machine explains."""
    return len(some) <= max(2, LATE * len(of))


# Faults of the services while a server uses them

SERVICES: Final = ("redis", "elasticsearch", "feast", "triton")
RECOVERY_S: Final = 2.0  # after which answers are whole again
# What an answer has in place of a service that a known user was answered with before
INSTEAD: Final = {
    "redis": {"last_state"},
    "elasticsearch": {"exact_search"},
    "feast": {"last_features"},
    "triton": {"recall_order"},
}


def listeners(settings: Settings, name: str) -> list[psutil.Process]:
    """Every process that listens on the service's port."""
    processes = listening().get(listens_on(settings, name), [])
    assert processes, f"nobody listens for {name}"
    return processes


def kill(settings: Settings, name: str) -> None:
    """All that listens on the service's port, and their children, with no chance to say so."""
    processes = listeners(settings, name)
    for process in processes:
        process.suspend()  # so that none starts another child meanwhile
    children = [
        child for process in processes for child in process.children(recursive=True)
    ]
    for process in {*processes, *children}:
        process.kill()


@contextmanager
def paused(settings: Settings, name: str) -> Iterator[None]:
    """All that listens on the service's port stands still."""
    processes = listeners(settings, name)
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
