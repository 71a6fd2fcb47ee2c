"""The contracts that the fakes keep, against the real services."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from offline_to_online.stores.triton import TritonStore
from online.clients.base import GoneError, ServiceError
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures
from online.clients.redis import RedisUsers
from online.clients.triton import ScoreQuery, TritonScores
from tests.unit.online import contracts
from tests.unit.online.world import World


class TestRedisUsers(contracts.RedisUsersContract):
    @pytest.fixture
    def client(self, patient: Settings) -> Iterator[RedisUsers]:
        with closing(RedisUsers(patient.redis)) as client:
            yield client


class TestElasticItems(contracts.ElasticItemsContract):
    @pytest.fixture
    def client(self, patient: Settings) -> Iterator[ElasticItems]:
        with closing(ElasticItems(patient.elasticsearch)) as client:
            yield client


class TestFeastFeatures(contracts.FeastFeaturesContract):
    @pytest.fixture
    def client(self, patient: Settings) -> Iterator[FeastFeatures]:
        with closing(FeastFeatures(patient.feast)) as client:
            yield client


class TestTritonScores(contracts.TritonScoresContract):
    @pytest.fixture
    def client(self, patient: Settings) -> Iterator[TritonScores]:
        with closing(TritonScores(patient.triton)) as client:
            yield client

    def test_a_version_that_was_cleared_away_is_told_from_other_errors(
        self, client: TritonScores, stack: Settings, world: World
    ) -> None:
        folder = stack.service_dir("triton") / world.model
        cleared = folder / "900"
        query = ScoreQuery(contracts.random_inputs(world, 1), 900, world.model)
        shutil.copytree(folder / str(world.model_version), cleared)
        try:
            TritonStore(stack).command("load", world.model)
            assert client.call(query).shape == (1,)
        finally:
            shutil.rmtree(cleared)
            TritonStore(stack).command("load", world.model)
        with pytest.raises(GoneError) as raised:
            client.call(query)
        assert raised.value.service == "triton"
        # Triton calls itself not ready for the two seconds that an unloading takes.
        ready = Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.1), retry=retry_if_exception_type(ServiceError))
        assert ready(client.ping)
