"""The fake of the store keeps the store's contract."""

from __future__ import annotations

import pytest

from tests.unit.extras.experiments import contracts
from tests.unit.extras.fakes import FakeExperiments
from tests.unit.online.fakes import FakeUsers
from tests.unit.online.world import SourceWorld


class TestFakeExperiments(contracts.ExperimentStoreContract):
    @pytest.fixture
    def users(self) -> FakeUsers:
        return FakeUsers(SourceWorld(), live=contracts.LIVE)

    @pytest.fixture
    def client(self, users: FakeUsers) -> FakeExperiments:
        return FakeExperiments(users)
