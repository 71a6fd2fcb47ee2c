"""Connections from a step to the services, with long timeouts; a service that fails is told in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import elasticsearch
import redis
import requests
from elasticsearch.helpers import BulkIndexError
from redis.exceptions import RedisClusterException

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from online.clients.elastic import connect as connect_elasticsearch
from online.clients.redis_connection import connect as connect_redis

TIMEOUT_S: Final = 30.0  # loading moves thousands of rows a call; the server's own timeouts are for one user's row
START_SERVICES: Final = "Start the services with `make up`, see `make status` and `make logs`, and run this step again."

_SERVICE_ERRORS = (
    redis.RedisError,
    RedisClusterException,
    elasticsearch.ApiError,
    elasticsearch.TransportError,
    BulkIndexError,
    requests.RequestException,
)


@contextmanager
def reaching(name: str, address: str) -> Iterator[None]:
    """Turn the errors of a service's client into a StepError that names the service and says what to do."""
    try:
        yield
    except _SERVICE_ERRORS as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise StepError(f"{name} at {address} did not do what was asked ({reason})", START_SERVICES) from error


def redis_address(settings: Settings) -> str:
    return ", ".join(f"{host}:{port}" for host, port in settings.redis.addresses)


def redis_client(settings: Settings) -> redis.Redis:
    """A client for database 0, where the user state lives."""
    return connect_redis(settings.redis, timeout_s=TIMEOUT_S)


def elastic_client(settings: Settings) -> elasticsearch.Elasticsearch:
    return connect_elasticsearch(settings.elasticsearch, timeout_s=TIMEOUT_S)
