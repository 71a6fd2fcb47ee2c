from __future__ import annotations

import json

import pytest

from data_exchange_center import wire
from data_exchange_center.manifest import FORMAT
from data_exchange_center.settings import RedisSettings
from online.clients.base import ServiceError
from online.clients.redis import RedisUsers
from tests.unit.online.world import SourceWorld

WORLD = SourceWorld()
STORED = {
    b"number": wire.pack_ids([17]),
    b"term": wire.pack_ids([1]),
    b"filter": wire.pack_ids([7, 9]),
    b"profile": wire.pack_ids([1, 2, 0]),
    b"history": WORLD.histories[1].pack(),
    b"vector_fm": wire.pack_vector([1.0, 2.0]),
}


@pytest.fixture
def client() -> RedisUsers:
    return RedisUsers(RedisSettings())


def test_a_complete_hash_is_a_user_and_vectors_are_checked(client: RedisUsers) -> None:
    user = client._user(1, {**STORED, b"later": b"x"}, {}, True)
    assert user is not None
    assert user.number == 17
    assert user.seen.tolist() == [7, 9]
    assert {name: vector.tolist() for name, vector in user.vectors.items()} == {
        "fm": [1.0, 2.0]
    }
    assert len(user.history) == len(WORLD.histories[1])


@pytest.mark.parametrize("field", ["number", "term", "filter", "profile", "history"])
def test_half_a_user_is_an_error_that_names_what_is_absent(
    client: RedisUsers, field: str
) -> None:
    stored = {name: raw for name, raw in STORED.items() if name != field.encode()}
    with pytest.raises(ServiceError, match=f"incomplete user 1: no field '{field}'"):
        client._user(1, stored, {}, True)


@pytest.mark.parametrize("field", ["number", "filter", "history", "vector_fm"])
def test_bytes_that_are_cut_off_are_an_error(client: RedisUsers, field: str) -> None:
    with pytest.raises(ServiceError, match="user 1 that cannot be read"):
        client._user(
            1, {**STORED, field.encode(): STORED[field.encode()][:-1]}, {}, True
        )


def test_a_release_of_another_format_is_refused_as_that(
    client: RedisUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = json.loads(WORLD.published.model_dump_json())
    published["manifest"]["format"] = FORMAT + 1
    monkeypatch.setattr(client._redis, "get", lambda _: json.dumps(published).encode())
    with pytest.raises(
        ServiceError,
        match=rf"\(it is of format {FORMAT + 1}, this version of the project reads {FORMAT}",
    ):
        client.published(WORLD.release)


def test_one_server_has_each_key_once(client: RedisUsers) -> None:
    server = client._redis
    assert server.user_key("aaaaaaaaaaaa", "anna") == "ml:aaaaaaaaaaaa:user:anna"
    assert server.copy_for(wire.LIVE_KEY, "anna") == wire.LIVE_KEY
    assert server.copies(wire.LIVE_KEY) == ()
