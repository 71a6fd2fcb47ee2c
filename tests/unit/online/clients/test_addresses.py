"""A host's name is looked up within the time of the call, however long the system takes for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from data_exchange_center.features import ModelInputs
from data_exchange_center.settings import ElasticsearchSettings, FeastSettings, RedisSettings, TritonSettings
from online.clients import addresses
from online.clients.base import ServiceError
from online.clients.deadline import Deadline
from online.clients.elastic import ElasticItems, ItemQuery
from online.clients.feast import FeastFeatures, FeatureQuery
from online.clients.redis import WHICH_IS_LIVE, RedisUsers
from online.clients.triton import ScoreQuery, TritonScores
from tests.unit.online.world import SourceWorld

LIMIT_S = 0.15
MARGIN_S = 2.0  # on a busy machine; a look-up that is not answered takes 10 s
HOST = "somewhere.invalid"
WORLD = SourceWorld()
ITEMS = ItemQuery(WORLD.release, WORLD.recipe.recall, WORLD.user_vectors(1))
CLIENTS: dict[str, tuple[Any, Any]] = {
    "redis": (lambda host, port: RedisUsers(RedisSettings(host=host, port=port, timeout_s=5)), WHICH_IS_LIVE),
    "elasticsearch": (
        lambda host, port: ElasticItems(ElasticsearchSettings(host=host, port=port, timeout_s=5)),
        ITEMS,
    ),
    "elasticsearch over https": (
        lambda host, port: ElasticItems(ElasticsearchSettings(host=host, port=port, timeout_s=5, scheme="https")),
        ITEMS,
    ),
    "feast": (
        lambda host, port: FeastFeatures(FeastSettings(host=host, port=port, timeout_s=5)),
        FeatureQuery("user", WORLD.release, (1,)),
    ),
    "triton": (
        lambda host, port: TritonScores(TritonSettings(host=host, http_port=port, timeout_s=5)),
        ScoreQuery(ModelInputs(np.zeros((1, 3), np.float32)), 1, "ml_rec"),
    ),
}


class NameServer:
    """Instead of the system's: silent until it is told to answer."""

    def __init__(self, found: list[str]) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()
        self._found = found
        self._real = socket.getaddrinfo

    def __call__(self, host: str, *more: Any, **named: Any) -> list[Any]:
        if host != HOST:
            return list(self._real(host, *more, **named))
        self.asked.append(host)
        assert self.answers.wait(30)
        if not self._found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self._found]


@pytest.fixture
def names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer(getattr(request, "param", ["127.0.0.1"]))
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.answers.set()
    for thread in threading.enumerate():
        if thread.name == "look-up":
            thread.join()


@pytest.mark.parametrize("name", CLIENTS)
def test_a_call_ends_by_its_deadline_though_the_name_is_not_found(names: NameServer, name: str) -> None:
    make, query = CLIENTS[name]
    with closing(make(HOST, 1)) as client:
        for _ in range(3):
            started = time.perf_counter()
            with pytest.raises(ServiceError, match="in time"):
                client.call(query, Deadline.after(LIMIT_S))
            assert time.perf_counter() - started < LIMIT_S + MARGIN_S
    assert len(names.asked) == 1, "one look-up serves all who wait for it"


@pytest.mark.parametrize("names", [[]], indirect=True)
@pytest.mark.parametrize("name", CLIENTS)
def test_an_unknown_name_cannot_be_reached(names: NameServer, name: str) -> None:
    make, query = CLIENTS[name]
    names.answers.set()
    with closing(make(HOST, 1)) as client, pytest.raises(ServiceError, match="cannot be reached"):
        client.call(query)


@pytest.mark.parametrize("names", [["127.0.0.2", "127.0.0.1"]], indirect=True)
@pytest.mark.parametrize("name", CLIENTS)
def test_the_addresses_of_a_name_are_tried_in_turn(names: NameServer, name: str) -> None:
    make, query = CLIENTS[name]
    names.answers.set()
    with socket.create_server(("127.0.0.1", 0)) as listener, closing(make(HOST, listener.getsockname()[1])) as client:
        with pytest.raises(ServiceError, match="in time"):
            client.call(query, Deadline.after(LIMIT_S))
        listener.settimeout(5)
        listener.accept()[0].close()


def test_an_address_is_its_own_and_is_not_looked_up(names: NameServer) -> None:
    assert addresses.addresses_of("127.0.0.1", 0.0) == ["127.0.0.1"]
    assert addresses.addresses_of("::1", 0.0) == ["::1"]
    assert not names.asked
