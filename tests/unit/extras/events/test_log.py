from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import redis
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from redis.exceptions import MovedError

from extras.events.log import FEAST_PROJECT, Call, feast_fields, feast_online_key, run

RELEASE = "aaaaaaaaaaaa"


@pytest.mark.parametrize("number", [1, 6040, 2**31 - 1])
def test_the_key_of_a_user_is_feasts(number: int) -> None:
    key = EntityKey(join_keys=["userid"], entity_values=[Value(int64_val=number)])
    assert _redis_key(FEAST_PROJECT, key, 3) == feast_online_key(number)


def test_the_fields_of_a_release_are_feasts() -> None:
    """Names of every length, as the hash works on four bytes at a time."""
    names = [*("a" * length for length in range(1, 9)), "user_ratings", "épreuve"]
    view = f"ml_user_{RELEASE}"
    assert feast_fields(RELEASE, names) == {
        f"_ts:{view}".encode(),
        *(_mmh3(f"{view}:{name}") for name in names),
    }


def test_a_moved_answer_reaches_the_cluster_client() -> None:
    """It discovers the cluster again, or every later event of that slot would be refused."""
    seen: list[Exception] = []

    @contextmanager
    def at(_: str) -> Iterator[Mock]:
        try:
            yield server
        except redis.RedisError as error:
            seen.append(error)
            raise

    server, moved = Mock(), MovedError("7 127.0.0.1:1")
    server.pipeline().execute.return_value = [moved]
    client = SimpleNamespace(server_of=lambda _: "one", at=at)
    with pytest.raises(MovedError):
        run(client, [Call("keep", ["key"], [])])  # type: ignore[arg-type]
    assert seen == [moved]
