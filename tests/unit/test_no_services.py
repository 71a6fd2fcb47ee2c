"""A unit test that reaches for a real service fails, by whichever library, and where it catches what comes of it."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
import requests

from data_exchange_center.settings import ElasticsearchSettings, RedisSettings, ServerSettings, Settings, TritonSettings
from offline_to_online.stores.base import elastic_client
from online.clients.elastic import ElasticItems
from online.clients.redis import RedisUsers
from tests.no_services import PORTS, ServiceReachedError, services_refused


def _elasticsearch() -> None:
    with elastic_client(Settings(), timeout_s=1.0) as client:
        client.info()


pytest_plugins = ("pytester",)
REACHING: dict[str, tuple[int, Callable[[], object]]] = {
    "Redis, the server's client": (6379, lambda: RedisUsers(RedisSettings()).ping()),
    "Elasticsearch, the server's client": (9200, lambda: ElasticItems(ElasticsearchSettings()).ping()),
    "Elasticsearch, a step's": (9200, _elasticsearch),
    "Triton by gRPC": (8001, lambda: grpc.insecure_channel(TritonSettings().grpc_addresses[0])),
    "the server": (5000, lambda: requests.get(ServerSettings().url, timeout=1)),
}


@pytest.mark.parametrize("library", REACHING)
def test_it_is_refused_and_the_attempt_is_kept(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port, reach = REACHING[library]
    with services_refused(monkeypatch) as reached, pytest.raises(ServiceReachedError, match=f"port {port}, where "):
        reach()
    assert len(reached) == 1


def test_the_fixture_fails_a_test_that_catches_it(pytester: pytest.Pytester) -> None:
    """And no other: not one that connects to a port of its own."""
    pytester.makeconftest("from tests.unit.conftest import _no_services as _no_services")
    pytester.makepyfile(
        """
        import socket
        from contextlib import suppress

        def test_caught():
            with suppress(BaseException):
                socket.create_connection(("127.0.0.1", 6379), 1)

        def test_own_port():
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname()).close()
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*a unit test reached for port 6379, where Redis listens. *tests/services*"])


def test_the_ports_are_those_of_the_services() -> None:
    assert {6379, 9200, 6566, 8000, 8001, 8002, 5000} <= PORTS.keys()
