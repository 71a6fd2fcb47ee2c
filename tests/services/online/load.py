"""Clients that ask a server without a pause, what they were answered, and faults of services meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psutil
import requests
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from research.bench.processes import listening, listens_on
from stack.server import SERVER
from stack.service import LOOPBACK, ROOT
from tests.free_ports import change, settings_on_free_ports

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


@contextmanager
def under_load(
    settings: Settings,
    folder: Path,
    bodies: Sequence[dict[str, Any]],
    clients: int,
    pause_s: float,
    **server_settings: object,
) -> Iterator[tuple[Settings, Load]]:
    """A server of its own folder, which these clients ask; it must not log an unexpected error."""
    own = settings.model_copy(update={"exchange_dir": folder})
    with (
        running(folder, own, **server_settings) as (started, _),
        load(started.server.url, bodies, clients, pause_s) as requested,
    ):
        yield started, requested
    assert "unexpected error" not in (folder / "server.log").read_text()


def bodies_of(
    users: Iterable[int], at: int, budget_ms: int, **more: Any
) -> list[dict[str, Any]]:
    """A request of each user."""
    return [
        {"userid": user, "timestamp": at, "budget_ms": budget_ms, **more}
        for user in users
    ]


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


# The server under gunicorn, as `make serve` runs it, over services that are not there.


@contextmanager
def running(
    folder: Path,
    settings: Settings | None = None,
    variables: Mapping[str, str] | None = None,
    **server_settings: object,
) -> Iterator[tuple[Settings, psutil.Process]]:
    """Its settings and gunicorn's master, once a worker answers. It logs to server.log in the folder.

    ``variables``: further ones of its environment.
    """
    settings = settings or settings_on_free_ports(folder)
    settings = change(settings, "server", **server_settings)
    program = SERVER.program(settings)
    environment = {**program.environment, **(variables or {})}
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            program.command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        for attempt in Retrying(stop=stop_after_delay(120), wait=wait_fixed(0.1)):
            with attempt:
                assert process.poll() is None, log.read_text()
                requests.get(f"{settings.server.url}/healthz", timeout=30)
        yield settings, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(120)


# A TCP proxy in front of a service, which does to its connections what networks and broken services do.


SLOW_S: Final = 0.6
# refused: no connection; silent: requests are taken and not answered; slow: answers come `SLOW_S` late; reset: an
# answer's connection is reset in its place; garbage: random bytes in place of answers
KINDS: Final = ("refused", "silent", "slow", "reset", "garbage")


class FaultProxy:
    """Passes everything on between ``port``, a free one, and a service; with a fault where one is switched on.

    Open connections meet the fault, too.
    """

    def __init__(self, service: int | str) -> None:
        """``service``: its port, or the path of its socket."""
        self._service, self._kind = service, ""
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self._run(self._listen())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._run(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def fault(self, kind: str) -> Iterator[None]:
        """A fault of one of the `KINDS`, for the duration of the block."""
        self._kind = kind
        if kind == "refused":
            self._run(self._refuse())
        try:
            yield
        finally:
            self._kind = ""
            if kind == "refused":
                self._run(self._listen())

    def _run(self, act: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(act, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        """Stop listening, and end all connections."""
        self._server.close()
        for writer in tuple(self._open):
            _reset(writer)
        await asyncio.sleep(0.1)

    async def _serve(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        self._open.add(to_client)
        try:
            if isinstance(self._service, str):
                service, to_service = await asyncio.open_unix_connection(self._service)
            else:
                service, to_service = await asyncio.open_connection(
                    LOOPBACK, self._service
                )
            await asyncio.gather(
                self._requests(client, to_service), self._answers(service, to_client)
            )
        except OSError:  # the service is away
            _reset(to_client)
        finally:
            self._open.discard(to_client)

    async def _requests(
        self, client: asyncio.StreamReader, to_service: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await client.read(2**16):
                if self._kind != "silent":
                    to_service.write(data)
                    await to_service.drain()
        to_service.transport.abort()

    async def _answers(
        self, service: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while (data := await service.read(2**16)) and self._kind != "reset":
                if self._kind == "slow":
                    await asyncio.sleep(SLOW_S)
                to_client.write(
                    random.randbytes(len(data)) if self._kind == "garbage" else data
                )
                await to_client.drain()
        _reset(to_client)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, with a reset."""
    with suppress(OSError):
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, at_once
        )
    writer.transport.abort()
