"""The fakes keep the clients' contracts, so what is tested with them holds for the real ones."""

import pytest

from tests.unit.online import contracts
from tests.unit.online.contracts import world  # noqa: F401 (a fixture)
from tests.unit.online.fakes import FakeFeatures, FakeItems, FakeScorer, FakeUsers
from tests.unit.online.world import World


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
