"""The contracts that the fakes keep, against the real services."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from offline_to_online.stores.triton import TritonStore
from online.clients.base import Client, GoneError, ServiceError
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures
from online.clients.redis import RedisUsers
from online.clients.triton import ScoreQuery, TritonScores
from tests.unit.online import contracts
from tests.unit.online.world import World
from tests.waiting import until


def client_of(kind: Callable[[Any], Client[Any, Any]], part: str) -> Any:
    # a fixture, closed at the end
    @pytest.fixture
    def client(_: object, patient: Settings) -> Iterator[Client[Any, Any]]:
        with closing(kind(getattr(patient, part))) as client:
            yield client

    return client


class TestRedisUsers(contracts.RedisUsersContract):
    client = client_of(RedisUsers, "redis")


class TestElasticItems(contracts.ElasticItemsContract):
    client = client_of(ElasticItems, "elasticsearch")


class TestFeastFeatures(contracts.FeastFeaturesContract):
    client = client_of(FeastFeatures, "feast")


class TestTritonScores(contracts.TritonScoresContract):
    client = client_of(TritonScores, "triton")

    def test_a_deleted_version_has_its_own_error(
        self, client: TritonScores, stack: Settings, world: World
    ) -> None:
        """Triton polls its repository: it finds a version, or misses one, within a second or two."""
        folder, aside = (
            stack.service_dir("triton") / world.model,
            TritonStore(stack).aside,
        )
        copy, published = aside / "900", folder / "900"
        query = ScoreQuery(contracts.random_inputs(world, 1), 900, world.model)
        aside.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder / str(world.model_version), copy)
        copy.rename(published)
        try:
            until(lambda: client.call(query).shape == (1,), 60, despite=(ServiceError,))
        finally:
            published.rename(copy)
            shutil.rmtree(copy)

        def gone() -> bool:
            try:
                client.call(query)
            except GoneError as error:
                return error.service == "triton"
            return False

        until(gone, 60, despite=(ServiceError,))
        # Triton calls itself not ready for the two seconds that an unloading takes.
        ready = Retrying(
            stop=stop_after_delay(60),
            wait=wait_fixed(0.1),
            retry=retry_if_exception_type(ServiceError),
        )
        assert ready(client.ping)
