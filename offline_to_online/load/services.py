"""One way to reach a service from a step, and one sentence when it cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import elasticsearch
import redis
import requests
from elastic_transport.client_utils import DEFAULT
from elasticsearch.helpers import BulkIndexError
from redis.backoff import NoBackoff
from redis.retry import Retry
from tritonclient.utils import InferenceServerException

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError

TIMEOUT_S: Final = 30.0  # loading moves thousands of rows a call; the server's own timeouts are for one user's row

_SERVICE_ERRORS = (
    redis.RedisError,
    elasticsearch.ApiError,
    elasticsearch.TransportError,
    BulkIndexError,
    requests.RequestException,
    InferenceServerException,
)


class CheckError(StepError):
    """What a store gave back is not what was loaded. The message names the row and both values."""


@contextmanager
def reaching(name: str, address: str) -> Iterator[None]:
    """Turn the errors of a service's client into a StepError that names the service and what to do."""
    try:
        yield
    except _SERVICE_ERRORS as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise StepError(
            f"{name} at {address} did not do what was asked ({reason}). "
            "Start the services with `make up`, see `make status` and `make logs`, and run this step again."
        ) from error


def redis_address(settings: Settings) -> str:
    return f"{settings.redis.host}:{settings.redis.port}"


def redis_client(settings: Settings) -> redis.Redis:
    """A client for database 0, where the user state lives."""
    password = settings.redis.password
    return redis.Redis(
        host=settings.redis.host,
        port=settings.redis.port,
        password=password.get_secret_value() if password else None,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=settings.redis.timeout_s,
        retry=Retry(NoBackoff(), 0),  # a step that fails is run again by a person
    )


def elastic_client(settings: Settings) -> elasticsearch.Elasticsearch:
    """A client without retries."""
    password = settings.elasticsearch.password
    return elasticsearch.Elasticsearch(
        settings.elasticsearch.url,
        basic_auth=(settings.elasticsearch.user, password.get_secret_value()) if password else None,
        ca_certs=str(settings.elasticsearch.ca_certs) if settings.elasticsearch.ca_certs else DEFAULT,
        request_timeout=TIMEOUT_S,
        max_retries=0,
    )
