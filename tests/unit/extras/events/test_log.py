"""The log of events over a Redis that is made up: how long its steps may take; and Feast's layout, which it knows."""

from __future__ import annotations

import pytest
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from data_exchange_center import wire
from extras.events.log import feast_fields, feast_online_key

RELEASE = "aaaaaaaaaaaa"


@pytest.mark.parametrize("number", [1, 6040, 2**31 - 1])
def test_the_key_of_a_user_is_feasts(number: int) -> None:
    key = EntityKey(join_keys=["userid"], entity_values=[Value(int64_val=number)])
    assert _redis_key(wire.FEAST_PROJECT, key, 3) == feast_online_key(number)


def test_the_fields_of_a_release_are_feasts() -> None:
    """Names of every length, as the hash works on four bytes at a time."""
    names = ["a" * length for length in range(1, 9)] + ["gender", "user_ratings", "épreuve"]
    view = f"ml_user_{RELEASE}"
    assert feast_fields(RELEASE, names) == {f"_ts:{view}".encode(), *(_mmh3(f"{view}:{name}") for name in names)}
