"""Load generator in a process of its own: closed loop, or requests at a fixed rate.

Closed loop: a fixed number of requests is in flight, and each answer, also a refusal, is followed by the next request.
Fixed rate: a request is sent when it is due, whether the ones before it are answered or not, and its latency counts
from that moment: a stall counts for all requests that were due meanwhile (no coordinated omission). Requests are plain
ones, as users send them. Answers are parsed after the last one has arrived.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import re
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import numpy as np
import uvloop
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.http import local_session
from data_exchange_center.release_parts import read_own_ids
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.stores.base import elastic_client
from research.bench.processes import Parts, used_s

ANSWERED: Final = 0.99  # share of the requests that a measurement needs answered; with fewer it is no result
LOST: Final = 0  # the status of a request whose connection ended before its answer, or that waited too long for it
STAGES: Final = ("redis", "elasticsearch", "feast", "triton", "total")
_PACKAGES: Final = ("flask", "gunicorn", "redis", "elasticsearch", "pycurl")
_TIMEOUT_S: Final = 30.0
_MOST_CONNECTIONS: Final = 512  # further requests wait, and their latency counts
_LOST_S: Final = 1.0  # pause of a client whose connection was lost
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Loading:
    """A level of load: a number of requests in flight, or of requests per second."""

    in_flight: int = 0
    per_s: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.in_flight} in flight" if self.in_flight else f"{self.per_s:g}/s"


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
    """Results of some requests at one level of load."""

    seconds: float  # from the first request to the last answer
    answers: tuple[Answered, ...]  # in the order in which they came
    generator_s: float  # processor time of the generator
    # processor seconds of each part of the stack meanwhile
    used_s: Mapping[str, float] = field(default_factory=dict)

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
        return sum(
            answer.status == HTTPStatus.SERVICE_UNAVAILABLE for answer in self.answers
        )

    @property
    def requests_per_s(self) -> float:
        return len(self.good) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        return percentile_ms(self.good, percent)

    @property
    def processor_ms(self) -> float:
        """Processor milliseconds of all parts together, for an answered request."""
        return 1e3 * sum(self.used_s.values()) / len(self.good)


def expect_answers(url: str, run: Run, at_least: float = ANSWERED) -> Run:
    """Raises StepError where a smaller share than ``at_least`` is answered with a list: that is no result."""
    if len(run.good) >= at_least * len(run.answers):
        return run
    answer = next(answer for answer in run.answers if not answer.ok)
    what = (
        f"answered {answer.status}: {answer.error}"
        if answer.status
        else "gave no answer"
    )
    raise StepError(
        f"{url} {what} ({len(run.answers) - len(run.good)} of {len(run.answers)} requests)"
    )


# --- The generator of load


Came = tuple[float, int, bytes]  # seconds, status, body


class _Connections:
    """Kept-alive connections to one server, one request at a time on each.

    The one idle longest is taken first, so that all of the server's workers get requests.
    """

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._address = where.hostname or "127.0.0.1", where.port or 80
        self._head = (
            f"POST /ml/rec HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: "
        )
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._places = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def ask(self, userid: OwnId) -> tuple[int, bytes]:
        """Status and body; `LOST` where the connection ends instead, or nothing comes in time."""
        body = json.dumps({"userid": userid})
        request = f"{self._head}{len(body)}\r\n\r\n{body}".encode()
        async with self._places:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    return await self._answer(request)
            except (OSError, EOFError):  # a time-out, too
                return LOST, b""

    async def _answer(self, request: bytes) -> tuple[int, bytes]:
        reader, writer = await self._take()
        kept = False
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            kept = b"\r\nconnection: close" not in head.lower()
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return int(head.split(b" ", 2)[1]), body

    async def _take(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.popleft()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.close()
        return await asyncio.open_connection(*self._address)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def _closed_loop(
    connections: _Connections, userids: Sequence[OwnId], in_flight: int
) -> list[Came]:
    left, came = iter(userids), []

    async def client() -> None:
        for userid in left:  # shared: a free connection takes the next one
            began = time.perf_counter()
            status, body = await connections.ask(userid)
            came.append((time.perf_counter() - began, status, body))
            if status == LOST:
                await asyncio.sleep(_LOST_S)

    async with asyncio.TaskGroup() as clients:
        for _ in range(in_flight):
            clients.create_task(client())
    return came


async def _fixed_rate(
    connections: _Connections, userids: Sequence[OwnId], per_s: float
) -> list[Came]:
    came: list[Came] = []

    async def one(userid: OwnId, due: float) -> None:
        status, body = await connections.ask(userid)
        came.append((time.perf_counter() - due, status, body))

    async with asyncio.TaskGroup() as tasks:
        began = time.perf_counter()
        for number, userid in enumerate(userids):
            due = began + number / per_s
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(one(userid, due))
    return came


def _read(seconds: float, status: int, body: bytes) -> Answered:
    if status != HTTPStatus.OK:
        return Answered(seconds, status, error=body[:200].decode(errors="replace"))
    answer = json.loads(body)
    degraded = tuple(each["service"] for each in answer.get("degraded", ()))
    return Answered(seconds, status, answer["release"], answer["took_ms"], degraded)


def generate(url: str, userids: Sequence[OwnId], loading: Loading) -> Run:
    """Send a request for every user. See `generator`."""

    async def sent() -> list[Came]:
        connections = _Connections(url)
        try:
            if loading.in_flight:
                return await _closed_loop(connections, userids, loading.in_flight)
            return await _fixed_rate(connections, userids, loading.per_s)
        finally:
            connections.close()

    used, began = time.process_time(), time.perf_counter()
    came = uvloop.run(sent())
    seconds, generator_s = time.perf_counter() - began, time.process_time() - used
    return Run(seconds, tuple(_read(*each) for each in came), generator_s)


Ask = Callable[[str, Sequence[OwnId], Loading], Run]


@contextmanager
def generator() -> Iterator[Ask]:
    """`generate`, in a process of its own."""
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        yield lambda url, userids, loading: pool.submit(
            generate, url, userids, loading
        ).result()


# --- One turn of a server at one level of load, and what several come to


def take_turn(
    ask: Ask,
    url: str,
    parts: Parts,
    loading: Loading,
    drawn: Drawn,
    requests: int,
    *,
    warm_up: int = 100,
    at_least: float = ANSWERED,
) -> Run:
    """Measure a server once at one level, after a warm-up at the same.

    Args:
        parts: of its stack, whose processor time is measured.
        at_least: share of the requests that has to be answered, or StepError is raised.
    """
    ask(url, drawn.next(max(warm_up, loading.in_flight)), loading)
    before = used_s(parts)
    run = expect_answers(
        url, ask(url, drawn.next(max(requests, loading.in_flight)), loading), at_least
    )
    after = used_s(parts)
    return replace(run, used_s={name: after[name] - before[name] for name in after})


Name = TypeVar("Name")


def in_turns(names: Sequence[Name], number: int) -> list[Name]:
    """The order of round ``number``: every other round is reversed, so that background load hits all."""
    return list(names if number % 2 == 0 else reversed(names))


def percentile_ms(answers: Sequence[Answered], percent: float) -> float:
    """Percentile of the answers' latency, in milliseconds."""
    return round(
        float(np.percentile([answer.seconds for answer in answers], percent)) * 1e3, 2
    )


def summary(turns: Sequence[Run]) -> dict[str, Any]:
    """Summarise turns: latencies over all answers together, processor time per answered request, the turns' spread."""
    good = [answer for turn in turns for answer in turn.good]
    requests = sum(len(turn.answers) for turn in turns)
    refused = sum(turn.refused for turn in turns)
    timed = [answer.took_ms for answer in good if answer.took_ms]
    processor_ms = {
        part: round(1e3 * sum(turn.used_s[part] for turn in turns) / len(good), 2)
        for part in turns[0].used_s
    }
    return {
        "answered": len(good),
        "degraded": sum(turn.degraded for turn in turns),
        "refused": refused,
        "failed": requests - len(good) - refused,
        "requests_per_s": round(
            statistics.median(turn.requests_per_s for turn in turns), 1
        ),
        "p50_ms": percentile_ms(good, 50),
        "p99_ms": percentile_ms(good, 99),
        "turns": {
            "requests_per_s": [round(turn.requests_per_s, 1) for turn in turns],
            **{
                f"p{percent}_ms": [turn.percentile_ms(percent) for turn in turns]
                for percent in (50, 99)
            },
        },
        "stage_p50_ms": {  # of the server's stages, which overlap
            stage: round(
                statistics.median(took[stage] for took in timed if stage in took), 2
            )
            for stage in STAGES
            if any(stage in took for took in timed)
        },
        **(
            {
                "processor_ms": {
                    **processor_ms,
                    "all": round(sum(processor_ms.values()), 2),
                }
            }
            if processor_ms
            else {}
        ),
        "generator_ms": round(
            1e3 * sum(turn.generator_s for turn in turns) / len(good), 3
        ),
    }


# --- The running server of a benchmark, and the facts stated with its figures


class Drawn:
    """Users in random order, a different one for each request as long as there are enough."""

    def __init__(self, userids: Sequence[OwnId], seed: int) -> None:
        self._userids = userids
        self._rng = np.random.default_rng(seed)

    def next(self, count: int) -> list[OwnId]:
        known = len(self._userids)
        return [
            self._userids[place]
            for place in self._rng.choice(known, count, replace=count > known).tolist()
        ]


def known_userids(settings: Settings) -> list[OwnId]:
    """The users that the release knows, by their own ids."""
    own_ids = read_own_ids(settings.artifacts_dir).users
    known = artifacts.USER_SEEN.read(settings.artifacts_dir, [Columns.USER])[
        Columns.USER
    ].tolist()
    return [own_ids[number] for number in known]


def ready(url: str) -> dict[str, Any]:
    """Status of the server: release, recipe and services. Raises StepError where none answers."""
    try:
        with local_session() as session:
            return dict(session.get(f"{url}/readyz", timeout=_TIMEOUT_S).json())
    except (OSError, http.client.HTTPException) as error:
        raise StepError(
            f"No server answers at {url} ({error}). Start it with `make serve`."
        ) from error


def becomes_ready(url: str, within_s: float) -> bool:
    """Wait until the server reports that it and all services are ready; False if not within ``within_s``."""

    def says_so() -> bool:
        try:
            return bool(ready(url)["status"] == "ready")  # not degraded
        except (StepError, ValueError, LookupError):
            return False

    return Retrying(
        stop=stop_after_delay(within_s),
        wait=wait_fixed(0.5),
        retry=retry_if_result(lambda so: not so),
        retry_error_callback=lambda _: False,
    )(says_so)


def searches(settings: Settings) -> int:
    """Searches that Elasticsearch has answered since its start: its JVM compiles what has run often."""
    with elastic_client(settings, _TIMEOUT_S) as client:
        nodes = client.nodes.stats(metric="indices", index_metric="search")[
            "nodes"
        ].values()
    return sum(node["indices"]["search"]["query_total"] for node in nodes)


def report(
    settings: Settings,
    server: Mapping[str, Any],
    about: Mapping[str, Any],
    measured: Mapping[str, Any],
    url: str | None = None,
) -> dict[str, Any]:
    """Report on the running server, with data set, versions, and how warm Elasticsearch is by the end.

    Args:
        server: its status, by `ready`.
        about: the command and what it was run on.
        url: of the server, if it may be another than the settings': whose Elasticsearch it asks is then not known.
    """
    own = url in (None, settings.server.url)
    return {
        **about,
        "dataset": artifacts.DATASET.read(settings.artifacts_dir)["name"],
        "server": {
            "workers": settings.server.workers,
            "threads": settings.server.threads,
        },
        "services": {
            name: service.get("version") for name, service in server["services"].items()
        },
        "packages": {name: version(name) for name in _PACKAGES},
        **({"searches": searches(settings)} if own else {}),
        **measured,
    }
