"""Redis Cluster with a password: replicas, events, Feast and counting of requests know it; nobody else is let in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pytest
import redis
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from redis.backoff import NoBackoff
from redis.retry import Retry

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.events.events import Event
from extras.events.log import EventLog, Recording
from offline_to_online.stores.base import redis_client
from online.stack.feast.service import feast_environment
from tests.cluster.processes import until
from tests.cluster.redis_cluster import has_taken_over, masters, own_cluster, server_process

PASSWORD: Final = "p@ss%w0rd$1"
FAILED_OVER_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with own_cluster(tmp_path_factory.mktemp("exchange"), PASSWORD) as settings:
        yield settings


def test_who_does_not_know_it_is_not_let_in(settings: Settings) -> None:
    for host, port in settings.redis.addresses:
        with redis.Redis(host, port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_feast_knows_it(settings: Settings) -> None:
    told = feast_environment(settings)
    config = RedisOnlineStoreConfig(connection_string=told["FEAST_REDIS"], redis_type=told["FEAST_REDIS_TYPE"])
    assert RedisOnlineStore()._get_client(config).ping()


def test_a_replica_that_takes_over_has_what_was_acknowledged(settings: Settings) -> None:
    event = Event("e1", 7, 1, "rating", 1_000_000, 5.0)
    with closing(EventLog(settings.redis)) as log:
        assert log.call(Recording("films", [event])) == (True,)
    with redis_client(settings) as client:
        port = client.get_node_from_key(wire.event_log_key("films", wire.event_partition(7))).port  # type: ignore[attr-defined]
    (replica,) = masters(settings)[port]
    server_process(settings, port).kill()
    until(lambda: has_taken_over(settings, replica, port), FAILED_OVER_WITHIN_S)
    with closing(EventLog(settings.redis.model_copy(update={"write_replicas": 0}))) as log:
        assert log.call(Recording("films", [event])) == (False,), "it is there, and counts once"
