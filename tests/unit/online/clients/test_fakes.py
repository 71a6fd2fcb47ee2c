"""The fakes keep the clients' contracts, so what is tested with them holds for the real ones."""

from __future__ import annotations

import pytest

from online.clients.base import ServiceError
from online.clients.redis import WHICH_IS_LIVE
from tests.unit.online import contracts
from tests.unit.online.contracts import world  # noqa: F401 (a fixture)
from tests.unit.online.fakes import FakeFeatures, FakeItems, FakeScorer, FakeUsers
from tests.unit.online.world import SourceWorld, World


class TestFakeUsers(contracts.RedisUsersContract):
    @pytest.fixture
    def client(self, world: World) -> FakeUsers:  # noqa: F811
        return FakeUsers(world, live=world.release)


class TestFakeItems(contracts.ElasticItemsContract):
    @pytest.fixture
    def client(self, world: World) -> FakeItems:  # noqa: F811
        return FakeItems(world)


class TestFakeFeatures(contracts.FeastFeaturesContract):
    @pytest.fixture
    def client(self, world: World) -> FakeFeatures:  # noqa: F811
        return FakeFeatures(world)


class TestFakeScorer(contracts.TritonScoresContract):
    @pytest.fixture
    def client(self, world: World) -> FakeScorer:  # noqa: F811
        return FakeScorer(world)


def test_a_librarys_error_becomes_a_service_error_that_names_the_service() -> None:
    users = FakeUsers(SourceWorld())
    users.down = True
    for question in (lambda: users.call(WHICH_IS_LIVE), users.ping, lambda: users.popular("aaaaaaaaaaaa")):
        with pytest.raises(ServiceError) as raised:
            question()
        assert raised.value.service == "redis"
        assert raised.value.what
