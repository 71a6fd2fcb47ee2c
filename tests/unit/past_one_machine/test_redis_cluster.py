"""A cluster that does not answer: what redis-py says then is none of its RedisErrors, and a service's error too."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from redis.exceptions import RedisClusterException

from data_exchange_center.settings import RedisSettings
from online.clients.base import ServiceError
from online.clients.redis import RedisUsers, UserQuery
from past_one_machine.redis_cluster import ClusterClient
from tests.free_ports import free_ports


def nobody() -> RedisSettings:
    (port,) = free_ports(1)
    return RedisSettings(cluster=True, nodes=f"127.0.0.1:{port}")


def test_where_no_node_answers_the_service_does_not() -> None:
    with closing(RedisUsers(nobody())) as users:
        with pytest.raises(ServiceError):
            users.call(UserQuery(1, None, None))
        with pytest.raises(ServiceError):
            users.ping()


def test_who_has_an_error_is_told_that_and_not_what_looking_again_met() -> None:
    def initialize() -> None:
        raise RedisClusterException("no node answers")

    cluster: Any = SimpleNamespace(
        get_node_from_key=lambda key: SimpleNamespace(name=key),
        get_redis_connection=lambda node: node,
        nodes_manager=SimpleNamespace(initialize=initialize),
    )
    client = ClusterClient(nobody(), timeout_s=1.0)
    client._cluster = cluster
    with pytest.raises(redis.TimeoutError, match="the caller's"), client.at("key"):
        raise redis.TimeoutError("the caller's")
