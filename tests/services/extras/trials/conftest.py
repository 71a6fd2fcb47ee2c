import pytest

from data_exchange_center.settings import Settings
from tests.services.online.conftest import load_worlds
from tests.unit.online.world import DefaultWorld, SourceWorld, World


@pytest.fixture(scope="session")
def worlds(stack: Settings) -> dict[type[World], World]:
    """The two that a canary compares."""
    return load_worlds(stack, (DefaultWorld, SourceWorld))
