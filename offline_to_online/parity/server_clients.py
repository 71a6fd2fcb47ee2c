"""The server's four clients, with the long timeouts of a check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.parity.online_answers import ServerClients
from offline_to_online.stores.base import START_SERVICES, TIMEOUT_S, redis_address
from online.clients.base import ServiceError
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures
from online.clients.redis import RedisUsers
from online.clients.triton import TritonScores


@contextmanager
def server_clients(settings: Settings) -> Iterator[ServerClients]:
    """The clients, closed at the end. A ServiceError becomes a StepError that names the service's address."""
    patient = {"timeout_s": TIMEOUT_S}
    addresses = {
        "redis": redis_address(settings),
        "elasticsearch": settings.elasticsearch.url,
        "feast": settings.feast.url,
        "triton": settings.triton.http_url,
    }
    with ExitStack() as stack:
        users = stack.enter_context(closing(RedisUsers(settings.redis.model_copy(update=patient))))
        clients = ServerClients(
            users=users,
            channels=users.channels,
            items=stack.enter_context(closing(ElasticItems(settings.elasticsearch.model_copy(update=patient)))),
            features=stack.enter_context(closing(FeastFeatures(settings.feast.model_copy(update=patient)))),
            ranker=stack.enter_context(closing(TritonScores(settings.triton.model_copy(update=patient)))),
        )
        try:
            yield clients
        except ServiceError as error:
            address = addresses.get(error.service, "its address")
            raise StepError(f"{error.service} at {address} {error.what}", START_SERVICES) from error
