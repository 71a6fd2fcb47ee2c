"""Two of whatever keeps nothing of its own: server replicas behind HAProxy, feature servers, Tritons. One is killed.

The tests of this file run in order and build on one another.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings
from offline_to_online.release import s1_go_live
from online.clients.http import DOWN_S
from stack import commands
from stack.feast import FEAST
from stack.server import SERVER
from stack.service import LOOPBACK, Service
from stack.supervision import Supervisor
from stack.triton.service import TRITON
from tests.cluster.conftest import PATIENCE_S, ServiceProcess, balanced
from tests.free_ports import change, free_ports
from tests.http_server import serving
from tests.prometheus import value
from tests.services.offline_to_online.releases import SYNC, live, written
from tests.services.online.load import Answered, Load, bodies_of, few, kill, load
from tests.waiting import until

USERS: Final = (1, 2, 3, 4, 5, 6)
AT: Final = 1_000_200_000
BUDGET_MS: Final = 4_000
CLIENTS, PAUSE_S = 4, 0.05
ENOUGH: Final = 60  # answers, to have felt it
PORTS: Final = {"feast": ("port",), "triton": ("http_port", "metrics_port")}


def moved(settings: Settings) -> Settings:
    """The same, with Feast and Triton on other ports."""
    free = iter(free_ports(sum(map(len, PORTS.values()))))
    for group, ports in PORTS.items():
        settings = change(settings, group, **{port: next(free) for port in ports})
    return settings


def with_both(one: Settings, other: Settings) -> Settings:
    """Settings that name both feature servers, and both Tritons."""

    def nodes(group: str, port: str) -> str:
        return ",".join(
            f"{LOOPBACK}:{getattr(getattr(each, group), port)}" for each in (one, other)
        )

    both = change(one, "feast", nodes=nodes("feast", "port"))
    return change(both, "triton", nodes=nodes("triton", "http_port"))


@dataclass(frozen=True)
class Twice:
    """A stack with a second Feast and a second Triton."""

    settings: Settings  # which name both
    second: dict[str, ServiceProcess]


@pytest.fixture(scope="module")
def twice(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twice]:
    """A release of the default recipe is live."""
    other, logs = moved(stack), tmp_path_factory.mktemp("logs")
    with ExitStack() as ends:
        second = {
            each.name: ServiceProcess(each, other, logs / f"{each.name}.log")
            for each in (FEAST, TRITON)
        }
        for each in second.values():
            ends.callback(each.stop)
            each.start()
        settings = written(with_both(stack, other), "default", 1)
        for step in SYNC:
            step.main(settings)
        yield Twice(settings, second)


class Replica(ServiceProcess):
    """One of several servers, of one worker."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        server = {"port": free_ports(1)[0], "workers": 1, "budget_ms": BUDGET_MS}
        own = settings.model_copy(update={"exchange_dir": folder})
        super().__init__(SERVER, change(own, "server", **server), folder / "server.log")

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.settings.server.port}"

    def answered(self) -> int:
        """How many requests since it was started."""
        with local_session() as session:
            page = session.get(f"http://{self.address}/metrics", timeout=30).text
        return int(value(page, "request_seconds_count", endpoint="/ml/rec"))


@dataclass(frozen=True)
class Busy:
    """Two servers behind HAProxy, under requests all the time."""

    replicas: Sequence[Replica]
    load: Load

    def wait_for(self, count: int, since: float) -> list[Answered]:
        """A number of answers to requests since then, of any kind."""
        until(lambda: len(self.load.between(since, float("inf"))) >= count)
        return self.load.between(since, float("inf"))

    def wait_until_requested(self, replica: Replica) -> None:
        """It gets its share of what comes."""
        before = replica.answered()
        until(lambda: replica.answered() >= before + ENOUGH // 4)


@pytest.fixture(scope="module")
def busy(twice: Twice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    replicas = [
        Replica(twice.settings, tmp_path_factory.mktemp("replica")) for _ in range(2)
    ]
    bodies = bodies_of(USERS, AT, BUDGET_MS)
    with ExitStack() as ends:
        url = ends.enter_context(
            balanced(
                (replicas[0].address, replicas[1].address),
                tmp_path_factory.mktemp("haproxy"),
            )
        )
        for each in replicas:
            ends.callback(each.stop)
            each.start()
        requested = ends.enter_context(load(url, bodies, CLIENTS, PAUSE_S))
        yield Busy(replicas, requested)


def failed(answers: Sequence[Answered]) -> list[Answered]:
    return [
        each
        for each in answers
        if each.status != requests.codes.ok or not each.body["item_list"]
    ]


def test_both_replicas_answer(busy: Busy) -> None:
    busy.load.wait(lambda each: each.whole, PATIENCE_S)
    for replica in busy.replicas:
        busy.wait_until_requested(replica)


def test_a_killed_replica_fails_no_request_and_is_used_again(busy: Busy) -> None:
    begin = time.monotonic()
    busy.replicas[0].kill()
    busy.wait_for(ENOUGH, begin)
    busy.replicas[0].start()
    busy.wait_until_requested(busy.replicas[0])
    assert failed(busy.load.between(begin, time.monotonic())) == []


@pytest.mark.parametrize("service", [FEAST, TRITON], ids=lambda each: each.name)
def test_one_of_two_killed_under_load_costs_no_answer(
    twice: Twice, busy: Busy, service: Service
) -> None:
    """The second one, and when it is back the first: were the second not used again, all answers would lack it."""
    busy.load.wait(lambda each: each.whole, PATIENCE_S)
    second, begin = twice.second[service.name], time.monotonic()
    second.kill()
    busy.wait_for(ENOUGH, begin)
    second.start()
    time.sleep(DOWN_S)
    other = time.monotonic()
    kill(twice.settings, service.name)
    busy.wait_for(ENOUGH, other)
    commands.wait_until_ready(twice.settings, Supervisor(twice.settings), service)
    answers = busy.load.between(begin, time.monotonic())
    assert failed(answers) == []
    degraded = [each for each in answers if service.name in each.degraded]
    assert few(degraded, answers), f"{len(degraded)} of {len(answers)}: {degraded[:3]}"


Content = list[tuple[Any, ...]]


def content(answer: Answered) -> Content:
    return [
        (item["itemid"], item["title"], item["score"])
        for item in answer.body["item_list"]
    ]


def alone(busy: Busy, release: str) -> dict[tuple[str, int], Content]:
    """Each user's answer from a release while no other is live."""
    found = {}
    for user in USERS:
        answer = busy.load.wait(
            lambda each, requested=user: (
                each.whole
                and (each.body["userid"], each.body["release"]) == (requested, release)
            ),
            PATIENCE_S,
        )
        found[release, user] = content(answer)
    return found


def test_rolling_restart_during_a_release_switch_is_seamless(
    twice: Twice, busy: Busy
) -> None:
    before = live(twice.settings).manifest.release
    expected = alone(busy, before)
    begin = time.monotonic()
    changed = written(twice.settings, "source", 2)
    *load_and_check, switch = SYNC
    assert switch is s1_go_live
    for step in load_and_check:
        step.main(changed)
    one, other = busy.replicas
    one.stop()
    one.start()
    switch.main(changed)
    other.stop()
    other.start()
    after = live(twice.settings).manifest.release
    for replica in busy.replicas:
        busy.wait_until_requested(replica)
    expected |= alone(busy, after)
    answers = busy.load.between(begin, time.monotonic())
    assert failed(answers) == []
    assert {each.body["release"] for each in answers} == {before, after}
    assert all(expected[before, user] != expected[after, user] for user in USERS)
    whole = [each for each in answers if each.whole]
    assert few([each for each in answers if not each.whole], answers)
    mixed = [
        each
        for each in whole
        if content(each) != expected[each.body["release"], each.body["userid"]]
    ]
    assert mixed == []


# HAProxy before two made-up servers: what it retries, what it does not, and which server gets requests if none is.


TIMES = 12


class MadeUp:
    """Counts what it is sent; may be unhealthy, or end a connection instead of an answer."""

    def __init__(self, *, healthy: bool = True, answers: bool = True) -> None:
        self.healthy, self.answers = healthy, answers
        self.sent: Counter[str] = Counter()

    def __call__(self, request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, bytes]:
        if request.command == "GET":
            return 200 if self.healthy else 503, b""
        self.sent[request.path] += 1
        if not self.answers:
            raise ConnectionAbortedError
        return 200, b""


@contextmanager
def behind_haproxy(folder: Path, one: MadeUp, other: MadeUp) -> Iterator[str]:
    with ExitStack() as ends:
        first, second = (
            f"{LOOPBACK}:{ends.enter_context(serving(each))}" for each in (one, other)
        )
        yield ends.enter_context(balanced((first, second), folder))


def post(url: str, path: str) -> int:
    return requests.post(f"{url}{path}", json={}, timeout=30).status_code


def test_recommendations_are_retried_and_events_sent_once(tmp_path: Path) -> None:
    good, bad = MadeUp(), MadeUp(answers=False)
    with behind_haproxy(tmp_path, good, bad) as url:
        requested = Counter(post(url, "/ml/rec") for _ in range(TIMES))
        reported = Counter(post(url, "/ml/event") for _ in range(TIMES))
    assert requested == {200: TIMES}
    assert bad.sent["/ml/rec"] > 0
    assert good.sent["/ml/event"] + bad.sent["/ml/event"] == TIMES
    assert reported == {200: good.sent["/ml/event"], 502: bad.sent["/ml/event"]}
    assert bad.sent["/ml/event"] > 0


@pytest.mark.parametrize(
    ("healthy", "noticed"), [(True, "server-2 is DOWN"), (False, "no server available")]
)
def test_unhealthy_backends_are_used_only_if_all_are_unhealthy(
    tmp_path: Path, healthy: bool, noticed: str
) -> None:
    log = tmp_path / "haproxy.log"
    one, other = MadeUp(healthy=healthy), MadeUp(healthy=False)
    with behind_haproxy(tmp_path, one, other) as url:
        until(lambda: noticed in log.read_text())
        assert Counter(post(url, "/ml/rec") for _ in range(TIMES)) == {200: TIMES}
    assert one.sent["/ml/rec"] > 0
    assert (other.sent["/ml/rec"] > 0) is not healthy
