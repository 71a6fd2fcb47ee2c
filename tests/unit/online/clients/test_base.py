"""Calls of any client: they end in time and name their service; a circuit breaker spares one that is away."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_exchange_center.candidates import ItemQuery
from data_exchange_center.features import ModelInputs
from data_exchange_center.settings import (
    REDIS_SOCKET,
    ElasticsearchSettings,
    FeastSettings,
    RedisSettings,
    TritonSettings,
)
from online.clients.base import (
    FAILURES,
    NEVER,
    PROBE_S,
    Breaker,
    Deadline,
    GoneError,
    ServiceError,
    current,
    until,
)
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures, FeatureQuery
from online.clients.redis import RedisUsers, TimelyConnection, UserQuery
from online.clients.triton import ScoreQuery, TritonScores
from online.recommend.loaded_release import read_published
from tests.unit.online.fakes import FakeUsers
from tests.unit.online.trickling import service, talking
from tests.unit.online.world import SourceWorld

ERROR = ServiceError("triton", "cannot be reached")
REFUSED = pytest.raises(ServiceError, match="circuit breaker")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The library's clock: it stands still until a test moves it."""
    now = [0.0]
    monkeypatch.setattr(Breaker, "clock", staticmethod(lambda: now[0]))
    return now


def call(breaker: Breaker, error: Exception | None = None, times: int = 1) -> None:
    """Calls that do not have to be made, and that end with an error if one is given."""
    for _ in range(times):
        with (
            pytest.raises(type(error)) if error else nullcontext(),
            breaker.count(strict=False),
        ):
            if error:
                raise error


@pytest.mark.parametrize(
    "success",
    [None, GoneError("triton", "does not serve the model of this release")],
    ids=["an answer", "missing data"],
)
@pytest.mark.usefixtures("clock")
def test_one_success_resets_the_count(success: ServiceError | None) -> None:
    breaker = Breaker("triton")
    call(breaker, ERROR, FAILURES - 1)
    call(breaker, success)
    call(breaker, ERROR, FAILURES - 1)
    assert breaker.state == "closed"
    call(breaker, ERROR)
    assert breaker.state == "open"


@pytest.mark.parametrize("error", [None, ERROR])
def test_after_a_moment_one_request_finds_out(
    error: ServiceError | None, clock: list[float]
) -> None:
    breaker = Breaker("triton")
    call(breaker, ERROR, FAILURES)
    with REFUSED:
        call(breaker)
    clock[0] = PROBE_S
    assert breaker.state == "half_open"
    with (
        pytest.raises(ServiceError) if error else nullcontext(),
        breaker.count(strict=False),
    ):
        with REFUSED:
            call(breaker)  # while the first call runs
        if error:
            raise error
    assert breaker.state == ("closed" if error is None else "open")


def test_a_bug_neither_opens_it_nor_keeps_it_from_probing(clock: list[float]) -> None:
    breaker = Breaker("triton")
    call(breaker, ERROR, FAILURES)
    clock[0] = PROBE_S
    call(breaker, ZeroDivisionError())
    call(breaker)
    assert breaker.state == "closed"


LIMIT_S = 0.15
# on a busy machine; without a deadline these calls take five seconds and more
MARGIN_S = 4.0


HTTP = (
    b"HTTP/1.1 200 OK\r\nX-elastic-product: Elasticsearch\r\nContent-Type: application/json\r\n\r\n"
    + b" " * 9_000
)
WORLD = SourceWorld()
SERVICES: dict[str, tuple[Any, Any, bytes]] = {
    "redis": (
        lambda port: RedisUsers(RedisSettings(port=port, timeout_s=5)),
        UserQuery.of(1, WORLD.published.manifest),
        b"*1000\r\n" + b":1\r\n" * 999,
    ),
    "elasticsearch": (
        lambda port: ElasticItems(ElasticsearchSettings(port=port, timeout_s=5)),
        ItemQuery(WORLD.release, WORLD.recipe.recall, WORLD.user_vectors(1)),
        HTTP,
    ),
    "feast": (
        lambda port: FeastFeatures(FeastSettings(port=port, timeout_s=5)),
        FeatureQuery("user", WORLD.release, (1,)),
        HTTP,
    ),
    "triton": (
        lambda port: TritonScores(TritonSettings(http_port=port, timeout_s=5)),
        ScoreQuery(ModelInputs(np.zeros((1, 3), np.float32)), 1, "ml_rec"),
        HTTP,
    ),
}


@contextmanager
def ends_in_time() -> Iterator[None]:
    """The block ends by `LIMIT_S` with an error."""
    started = time.perf_counter()
    with pytest.raises(ServiceError, match="in time"):
        yield
    assert time.perf_counter() - started < LIMIT_S + MARGIN_S


@pytest.mark.parametrize("manner", ["silent", "trickling", "without a deadline"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_call_ends_by_its_deadline_or_the_services_own_timeout(
    name: str, manner: str
) -> None:
    make, query, trickle = SERVICES[name]
    sent = b"" if manner == "silent" else trickle
    with service(sent) as port, closing(make(port)) as client:
        deadline = Deadline.after
        if manner == "without a deadline":
            client.timeout_s, deadline = LIMIT_S, lambda _: NEVER
        for _ in range(2):
            with ends_in_time():
                client.call(query, deadline(LIMIT_S))


@pytest.mark.parametrize("trickle", [b"", SERVICES["redis"][2]])
def test_a_call_over_redis_s_socket_ends_by_its_deadline(
    trickle: bytes, tmp_path: Path
) -> None:
    users = RedisUsers(RedisSettings(socket_dir=tmp_path, timeout_s=5))
    with service(trickle, tmp_path / REDIS_SOCKET), closing(users):
        for _ in range(2):
            with ends_in_time():
                users.call(SERVICES["redis"][1], Deadline.after(LIMIT_S))


def test_a_call_without_timeout_ends_by_the_deadline() -> None:
    make, _, trickle = SERVICES["redis"]
    with (
        service(trickle) as port,
        closing(make(port)) as users,
        until(Deadline.after(LIMIT_S)),
        ends_in_time(),
    ):
        read_published(users, WORLD.release)


@pytest.mark.parametrize("name", SERVICES)
def test_no_call_is_made_without_time_left(name: str) -> None:
    make, query, _ = SERVICES[name]
    with closing(make(1)) as client, pytest.raises(ServiceError, match="in time"):
        client.call(query, Deadline.after(0))


@pytest.mark.parametrize(
    "sent",
    [b"", HTTP[:20], b"\x00\xff nonsense\r\n" * 100],
    ids=["nothing", "the start", "nonsense"],
)
@pytest.mark.parametrize("name", SERVICES)
def test_a_reset_or_garbage_is_an_error_naming_the_service(
    name: str, sent: bytes
) -> None:
    make, query, _ = SERVICES[name]
    with (
        talking(lambda client: (client.recv(64 * 1024), client.sendall(sent))) as port,
        closing(make(port)) as client,
    ):
        with pytest.raises(ServiceError, match=rf"^{name}: ") as raised:
            client.call(query)
        assert not isinstance(raised.value, GoneError)


@pytest.mark.parametrize(
    ("losses", "expected"), [(1, nullcontext()), (2, pytest.raises(ServiceError))]
)
def test_a_lost_connection_is_made_again_once(
    losses: int,
    expected: AbstractContextManager[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    users, lost = FakeUsers(WORLD, live=WORLD.release), iter([True] * losses)
    monkeypatch.setattr(users, "lost_errors", (Exception,))
    users.on_call = lambda: setattr(users, "down", next(lost, False))
    with expected:
        assert users.call(UserQuery.of(1, WORLD.published.manifest)).published


def test_a_deadline_is_its_threads_own() -> None:
    seen: list[Deadline] = []
    with until(Deadline.after(1)):
        assert current() is not NEVER
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [NEVER]
    assert current() is NEVER


def test_a_shorter_connection_timeout_is_kept() -> None:
    with service(b"") as port, TimelyConnection(port=port)._connect() as socket:
        for own, deadline in ((0.02, 5.0), (5.0, 0.02)):
            socket.settimeout(own)
            with until(Deadline.after(deadline)), pytest.raises(TimeoutError):
                socket.recv(1)
            assert socket.gettimeout() == own
