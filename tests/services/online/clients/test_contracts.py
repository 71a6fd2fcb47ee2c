"""The contracts that the fakes keep, against the real services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from data_exchange_center.settings import Settings
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures
from online.clients.redis import RedisUsers
from online.clients.triton import TritonScores
from tests.unit.online import contracts


class TestRedisUsers(contracts.RedisUsersContract):
    @pytest.fixture
    def client(self, stack: Settings) -> Iterator[RedisUsers]:
        with closing(RedisUsers(stack.redis)) as client:
            yield client


class TestElasticItems(contracts.ElasticItemsContract):
    @pytest.fixture
    def client(self, stack: Settings) -> Iterator[ElasticItems]:
        with closing(ElasticItems(stack.elasticsearch)) as client:
            yield client


class TestFeastFeatures(contracts.FeastFeaturesContract):
    @pytest.fixture
    def client(self, stack: Settings) -> Iterator[FeastFeatures]:
        with closing(FeastFeatures(stack.feast)) as client:
            yield client


class TestTritonScores(contracts.TritonScoresContract):
    @pytest.fixture
    def client(self, stack: Settings) -> Iterator[TritonScores]:
        with closing(TritonScores(stack.triton)) as client:
            yield client
