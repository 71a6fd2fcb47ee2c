"""The shape of the four stores, and the errors of their clients."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.releases import Stores
from offline_to_online.stores.base import ReleaseStore, reaching


def test_an_error_of_the_services_client_names_the_service_and_its_address() -> None:
    refused = r"Shelf at nowhere:1 failed \(refused\)\. .*make up"
    with pytest.raises(StepError, match=refused), reaching("Shelf", "nowhere:1"):
        raise redis.ConnectionError("refused")


def test_each_of_the_four_names_its_step_and_its_address() -> None:
    settings = Settings()
    stores: tuple[ReleaseStore[Any, Any], ...] = Stores.of(settings).all
    assert [store.title for store in stores] == ["Redis", "Elasticsearch", "Feast", "Triton"]
    for store in stores:
        assert (settings.exchange_dir.parent / store.step).is_file()
        assert store.address
