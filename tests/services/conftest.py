"""The real Redis, Elasticsearch, Feast and Triton, for every test in this folder; and a Redis of a module's own."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.events.log import EventLog
from offline_to_online.stores.base import redis_client
from offline_to_online.stores.triton import TritonStore
from stack.commands import by_name
from stack.redis import REDIS
from tests.free_ports import settings_on_free_ports
from tests.own_stack import own_or_running_stack, own_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a running stack: on free ports, under a temporary exchange folder."""
    with own_or_running_stack(
        lambda: settings_on_free_ports(tmp_path_factory.mktemp("exchange"))
    ) as settings:
        yield settings


def _clear(stack: Settings) -> None:
    with redis_client(stack) as client:
        client.delete(wire.LIVE_KEY, wire.PUBLISHED_KEY)
    models = TritonStore(stack)
    models.delete(models.releases())
    # Triton is not ready while it unloads a model.
    Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.1), reraise=True)(
        by_name("triton").version, stack
    )


@pytest.fixture(scope="module")
def clean_stack(stack: Settings) -> Iterator[Settings]:
    """The stack with nothing live and no model in Triton, when the module begins and after it."""
    _clear(stack)
    yield stack
    _clear(stack)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a Redis that the module has for itself. The supervisor restarts it when it is killed."""
    settings = settings_on_free_ports(tmp_path_factory.mktemp("exchange"))
    # the machine may be busy
    patient = settings.redis.model_copy(update={"timeout_s": 30.0})
    with own_stack(settings.model_copy(update={"redis": patient}), [REDIS]) as settings:
        yield settings


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with redis_client(settings) as client:
        yield client


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with closing(EventLog(settings.redis)) as log:
        yield log
