"""Requests to the server, from a process that does nothing else: closed loop, or at a fixed rate.

Closed loop: so many requests are in flight, and each answer, also a refusal, is followed by the next one at once.
Fixed rate: a request is sent when it is due, whether the ones before it are answered or not, and its latency counts
from that moment: a server that stalls is charged for all who would have come meanwhile (no coordinated omission).
Requests are plain ones, as anybody sends them.

It has one thread, an event loop in C and a parser in C: about 0.1 ms of processor time a request. Answers are read as
JSON when the last one is in.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop
from rich import box
from rich.table import Table
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.figures import PIPELINE
from data_exchange_center.http import local_session
from data_exchange_center.release_parts import read_user_ids
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research.bench.processes import Part, used_s

CODE: Final = (*PIPELINE, "extras", "research/bench")  # that the figures of the running server depend on
ANSWERED: Final = 0.99  # share of the requests that a measurement needs answered; with fewer it is no result
LOST: Final = 0  # the status of a request whose connection ended before its answer, or that waited too long for it
_TIMEOUT_S: Final = 30.0
_MOST_CONNECTIONS: Final = 512  # those beyond wait, and their latency runs
_LOST_S: Final = 1.0  # after which a client whose connection was lost goes on


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered request."""

    seconds: float  # as the client saw it: since it was due
    status: int = HTTPStatus.OK
    release: str = ""
    took_ms: dict[str, float] | None = None  # as the answer states it
    degraded: tuple[str, ...] = ()  # the services that the answer lacks
    error: str = ""  # the body where it is no answer

    @property
    def ok(self) -> bool:
        return self.status == HTTPStatus.OK


@dataclass(frozen=True)
class Run:
    """Results of some requests."""

    seconds: float  # from the first request to the last answer
    answers: tuple[Answered, ...]  # in the order in which they came
    generator_s: float  # processor time of the generator

    @property
    def good(self) -> list[Answered]:
        """Answers with a list, whole or not."""
        return [answer for answer in self.answers if answer.ok]

    @property
    def degraded(self) -> int:
        """Answers that lack a service."""
        return sum(bool(answer.degraded) for answer in self.answers)

    @property
    def refused(self) -> int:
        """Requests that got a 503."""
        return sum(answer.status == HTTPStatus.SERVICE_UNAVAILABLE for answer in self.answers)


@dataclass(frozen=True)
class Target:
    """Server and kind of requests."""

    url: str
    strict: bool = False  # an error rather than an answer that lacks a service; otherwise the default

    def request(self, userid: OwnId) -> bytes:
        where = urlsplit(self.url)
        body = json.dumps({"userid": userid, **({"strict": True} if self.strict else {})})
        return f"POST /ml/rec HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    @property
    def address(self) -> tuple[str, int]:
        where = urlsplit(self.url)
        return where.hostname or "127.0.0.1", where.port or 80


class _Connection(asyncio.Protocol):
    """A kept-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.usable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body; `LOST` where the connection ends instead."""
        self._answer = asyncio.get_running_loop().create_future()
        self._body = []
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.usable = self._parser.should_keep_alive()
        self._done(self._parser.get_status_code(), b"".join(self._body))

    def connection_lost(self, _: Exception | None) -> None:
        self.usable = False
        self._done(LOST, b"")

    def _done(self, status: int, body: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))

    def close(self) -> None:
        self._transport.close()


class _Connections:
    """Connections to one server, the one that has rested longest first: so all of its workers get their part."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._idle: deque[_Connection] = deque()
        self._places = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        async with self._places:
            connection = await self._take()
            if connection is None:
                return LOST, b""
            try:
                status, body = await asyncio.wait_for(connection.ask(request), _TIMEOUT_S)
            except TimeoutError:
                connection.close()
                return LOST, b""
            if connection.usable:
                self._idle.append(connection)
            else:
                connection.close()
            return status, body

    async def _take(self) -> _Connection | None:
        while self._idle:
            if (connection := self._idle.popleft()).usable:
                return connection
        try:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._address)
        except OSError:
            return None
        return connection

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


@asynccontextmanager
async def _connections(address: tuple[str, int]) -> AsyncIterator[_Connections]:
    connections = _Connections(address)
    try:
        yield connections
    finally:
        connections.close()


Came = tuple[float, int, bytes]  # seconds, status, body


async def _closed_loop(target: Target, userids: Sequence[OwnId], in_flight: int) -> list[Came]:
    left, came = iter(userids), []

    async def client(connections: _Connections) -> None:
        for userid in left:  # shared: a free connection takes the next one
            request = target.request(userid)
            began = time.perf_counter()
            status, body = await connections.ask(request)
            came.append((time.perf_counter() - began, status, body))
            if status == LOST:
                await asyncio.sleep(_LOST_S)

    async with _connections(target.address) as connections, asyncio.TaskGroup() as clients:
        for _ in range(in_flight):
            clients.create_task(client(connections))
    return came


async def _fixed_rate(target: Target, userids: Sequence[OwnId], per_s: float) -> list[Came]:
    came: list[Came] = []

    async def one(request: bytes, due: float) -> None:
        status, body = await connections.ask(request)
        came.append((time.perf_counter() - due, status, body))

    requests = [target.request(userid) for userid in userids]
    async with _connections(target.address) as connections, asyncio.TaskGroup() as tasks:
        began = time.perf_counter()
        for number, request in enumerate(requests):
            due = began + number / per_s
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(one(request, due))
    return came


def _read(seconds: float, status: int, body: bytes) -> Answered:
    if status != HTTPStatus.OK:
        return Answered(seconds, status, error=body[:200].decode(errors="replace"))
    answer = json.loads(body)
    lacking = tuple(each["service"] for each in answer.get("degraded", ()))
    return Answered(seconds, status, answer["release"], answer["took_ms"], lacking)


def generate(target: Target, userids: Sequence[OwnId], *, in_flight: int = 0, per_s: float = 0.0) -> Run:
    """Send a request for every user: ``in_flight`` at a time, or ``per_s`` a second. See `generator`."""
    used, began = time.process_time(), time.perf_counter()
    if per_s:
        came = uvloop.run(_fixed_rate(target, userids, per_s))
    else:
        came = uvloop.run(_closed_loop(target, userids, in_flight))
    seconds, generator_s = time.perf_counter() - began, time.process_time() - used
    return Run(seconds, tuple(_read(*each) for each in came), generator_s)


class Generator:
    """A process of its own that generates load."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def closed(self, target: Target, userids: Sequence[OwnId], in_flight: int) -> Run:
        return self._pool.submit(generate, target, userids, in_flight=in_flight).result()

    def fixed_rate(self, target: Target, userids: Sequence[OwnId], per_s: float) -> Run:
        return self._pool.submit(generate, target, userids, per_s=per_s).result()


@contextmanager
def generator() -> Iterator[Generator]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield Generator(pool)


def expect_answers(target: Target, run: Run, at_least: float = ANSWERED) -> Run:
    """Raises StepError where a smaller share than ``at_least`` is answered with a list: that is no result."""
    if len(run.good) >= at_least * len(run.answers):
        return run
    answer = next(answer for answer in run.answers if not answer.ok)
    what = f"answered {answer.status}: {answer.error}" if answer.status else "gave no answer"
    raise StepError(f"{target.url} {what} ({len(run.answers) - len(run.good)} of {len(run.answers)} requests)")


# --- Percentiles and medians of answers


STAGES = ("redis", "elasticsearch", "feast", "triton", "total")


def percentile_ms(answers: Sequence[Answered], percent: float) -> float:
    """Percentile of the answers' latency, in milliseconds."""
    return round(float(np.percentile([answer.seconds for answer in answers], percent)) * 1e3, 2)


def stage_medians_ms(answers: Sequence[Answered]) -> dict[str, float]:
    """Median milliseconds of the server's stages, which overlap."""
    timed = [answer.took_ms for answer in answers if answer.took_ms]
    return {
        stage: round(float(np.median([took[stage] for took in timed if stage in took])), 2)
        for stage in STAGES
        if any(stage in took for took in timed)
    }


# --- One turn of a server at one level of load, and what several come to


@dataclass(frozen=True)
class Loading:
    """A level of load: so many requests in flight, or so many a second."""

    in_flight: int = 0
    per_s: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.in_flight} in flight" if self.in_flight else f"{self.per_s:g}/s"

    def ask(self, generator: Generator, target: Target, userids: Sequence[OwnId]) -> Run:
        if self.in_flight:
            return generator.closed(target, userids, self.in_flight)
        return generator.fixed_rate(target, userids, self.per_s)


@dataclass(frozen=True)
class Turn:
    """One server at one level, once."""

    run: Run
    used_s: Mapping[str, float]  # processor seconds of each part of its stack meanwhile

    @property
    def requests_per_s(self) -> float:
        return len(self.run.good) / self.run.seconds

    @property
    def p50_ms(self) -> float:
        return percentile_ms(self.run.good, 50)

    @property
    def processor_ms(self) -> float:
        """Processor milliseconds of all parts together, for an answered request."""
        return 1e3 * sum(self.used_s.values()) / len(self.run.good)


def take_turn(
    ask: Generator,
    target: Target,
    parts: Mapping[str, Part],
    loading: Loading,
    drawn: Drawn,
    requests: int,
    *,
    warm_up: int = 100,
    at_least: float = ANSWERED,
) -> Turn:
    """Measure a server once at one level, after a warm-up at the same.

    Args:
        parts: of its stack, whose processor time is measured.
        at_least: share of the requests that has to be answered, or StepError is raised.
    """
    loading.ask(ask, target, drawn.next(max(warm_up, loading.in_flight)))
    before = used_s(parts)
    run = expect_answers(target, loading.ask(ask, target, drawn.next(max(requests, loading.in_flight))), at_least)
    after = used_s(parts)
    return Turn(run, {name: after[name] - before[name] for name in after})


def summary(turns: Sequence[Turn]) -> dict[str, Any]:
    """Latencies over the answers of all turns together; processor time for each that was answered."""
    good: list[Answered] = [answer for turn in turns for answer in turn.run.good]
    requests = sum(len(turn.run.answers) for turn in turns)
    refused = sum(turn.run.refused for turn in turns)
    processor_ms = {
        part: round(1e3 * sum(turn.used_s[part] for turn in turns) / len(good), 2) for part in turns[0].used_s
    }
    return {
        "answered": len(good),
        "degraded": sum(turn.run.degraded for turn in turns),
        "refused": refused,
        "failed": requests - len(good) - refused,
        "requests_per_s": round(statistics.median(turn.requests_per_s for turn in turns), 1),
        "p50_ms": percentile_ms(good, 50),
        "p99_ms": percentile_ms(good, 99),
        "stage_p50_ms": stage_medians_ms(good),
        **({"processor_ms": {**processor_ms, "all": round(sum(processor_ms.values()), 2)}} if processor_ms else {}),
        "generator_ms": round(1e3 * sum(turn.run.generator_s for turn in turns) / len(good), 3),
    }


# --- Target of a benchmark, and the facts stated with its figures


_PACKAGES = ("flask", "gunicorn", "redis", "elasticsearch", "pycurl")


class Drawn:
    """Users in random order, a different one for each request as long as there are enough."""

    def __init__(self, userids: Sequence[OwnId], seed: int) -> None:
        self._userids = userids
        self._rng = np.random.default_rng(seed)

    def next(self, count: int) -> list[OwnId]:
        known = len(self._userids)
        return [self._userids[place] for place in self._rng.choice(known, count, replace=count > known).tolist()]


def ready(url: str) -> dict[str, Any]:
    """Status of the server: release, recipe and services."""
    with local_session() as session:
        return dict(session.get(f"{url}/readyz", timeout=_TIMEOUT_S).json())


def becomes_ready(url: str, within_s: float = 120.0) -> bool:
    """Whether the server says, within that time, that it and all services are ready. A busy machine takes its time."""

    def says_so() -> bool:
        try:
            with local_session() as session:
                # Its status is 200 as long as there is some answer, one that lacks a service included.
                return bool(session.get(f"{url}/readyz", timeout=_TIMEOUT_S).json()["ready"])
        except (OSError, ValueError, LookupError):
            return False

    retrying = Retrying(stop=stop_after_delay(within_s), wait=wait_fixed(0.5), retry=retry_if_result(lambda so: not so))
    try:
        return retrying(says_so)
    except RetryError:
        return False


def table(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Table:
    """A column a key."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    for key in keys:
        shown.add_column(key, justify="right", overflow="fold")
    for row in rows:
        shown.add_row(*(str(row[key]) for key in keys))
    return shown


def facts(settings: Settings, services: Mapping[str, Any]) -> dict[str, Any]:
    """Data set and versions, stated with the figures."""
    server = settings.server
    return {
        "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"],
        "server": {"workers": server.workers, "threads": server.threads},
        "services": {name: service.get("version") for name, service in services.items()},
        "packages": {name: version(name) for name in _PACKAGES},
    }


def known_userids(settings: Settings) -> list[OwnId]:
    """The users that the release knows, by their own ids."""
    own_ids = read_user_ids(settings.exchange_dir)
    known = artifacts.USER_SEEN.read(settings.exchange_dir, [Columns.USER])[Columns.USER].tolist()
    return [own_ids[number] for number in known]


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """A server that does not answer is one sentence."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise StepError(f"No server answers at {url} ({error}). Start it with `make serve`.") from error
