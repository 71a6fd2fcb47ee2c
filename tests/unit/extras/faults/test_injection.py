from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import orjson
import pytest

from data_exchange_center.settings import FeastSettings, RedisSettings
from extras.faults.declaration import KINDS, ActiveFault
from extras.faults.injection import inject, spared
from online.clients.base import OUT_OF_TIME, Client, Deadline, ServiceError
from online.clients.feast import FeastFeatures, FeatureQuery
from online.clients.redis import RedisUsers, TimelySocket, UserQuery
from tests.http_server import serving
from tests.unit.online.trickling import talking

LIMIT_S, MARGIN_S = 0.3, 4.0
PATIENCE_S = 20.0  # of calls that are answered, or fail at once, also on a busy machine
SAYS = {
    "slow": OUT_OF_TIME,
    "down": "cannot be reached",
    "reset": "cannot be reached",
    "garbage": "answered with",
}
FEATURES = orjson.dumps(
    {"metadata": {"feature_names": ["userid"]}, "results": [{"values": [1]}]}
)
NOBODY = b"*0\r\n:1\r\n*0\r\n"


def talk(client: socket.socket) -> None:
    """Answer Redis's greetings, and that nothing is live."""
    while data := client.recv(65536):
        client.sendall(
            NOBODY if b"HGETALL" in data else b"+OK\r\n" * data.count(b"CLIENT")
        )


@pytest.fixture(params=["feast", "redis"])
def called(request: pytest.FixtureRequest) -> Iterator[tuple[Client[Any, Any], Any]]:
    """A client of a service in this process, and a query that it answers."""
    if request.param == "feast":
        with serving(lambda *_: (200, FEATURES)) as port:
            client = FeastFeatures(FeastSettings(port=port, timeout_s=PATIENCE_S))
            with closing(client):
                yield client, FeatureQuery("user", None, (1,))
    else:
        with (
            talking(talk) as port,
            closing(
                RedisUsers(RedisSettings(port=port, timeout_s=PATIENCE_S))
            ) as users,
        ):
            yield users, UserQuery(1, "aaaaaaaaaaaa", "stars")


@contextmanager
def broken(client: Client[Any, Any], kind: str = "down", **more: Any) -> Iterator[None]:
    """A client with a fault. Afterwards nothing is in place."""
    given = {
        "service": client.service,
        "kind": kind,
        "wait_ms": 5_000,
        "until": time.time() + 60,
        **more,
    }
    methods, transport = dict(vars(TimelySocket)), getattr(client, "http", None)
    end = inject(client, ActiveFault.model_validate(given))
    try:
        yield
    finally:
        end()
    assert dict(vars(TimelySocket)) == methods
    assert getattr(client, "http", None) is transport


@pytest.mark.parametrize("kind", KINDS)
def test_a_faulty_call_ends_in_its_own_error_by_the_deadline(
    called: Any, kind: str
) -> None:
    client, query = called
    client.call(query)  # its connection exists before the fault
    limit_s = LIMIT_S if kind == "slow" else PATIENCE_S  # the others do not wait for it
    with broken(client, kind):
        started = time.perf_counter()
        with pytest.raises(ServiceError) as raised:
            client.call(query, Deadline.after(limit_s))
        assert time.perf_counter() - started < LIMIT_S + MARGIN_S
    assert raised.value.service == client.service
    assert SAYS[kind] in raised.value.what
    client.call(query)


def test_a_slow_call_with_time_left_is_answered(called: Any) -> None:
    client, query = called
    with broken(client, "slow", wait_ms=50):
        started = time.perf_counter()
        client.call(query)
        assert time.perf_counter() - started >= 0.05


def test_a_fault_does_nothing_beyond_its_time_nor_when_spared(called: Any) -> None:
    client, query = called
    with broken(client, until=time.time() - 1):
        client.call(query)
    with broken(client), spared():
        client.call(query)


def test_a_share_of_the_calls_fails(called: Any) -> None:
    client, query = called
    answered = 0
    with broken(client, share=0.5):
        for _ in range(60):
            with suppress(ServiceError):
                client.call(query)
                answered += 1
    assert 0 < answered < 60
