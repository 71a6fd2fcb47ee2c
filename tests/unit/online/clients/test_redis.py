import json
from collections.abc import Callable

import pytest
from redis.client import Pipeline

from data_exchange_center import wire
from data_exchange_center.candidates import StoredUser
from data_exchange_center.manifest import FORMAT
from data_exchange_center.settings import RedisSettings
from online.clients.base import ServiceError, StoredError
from online.clients.redis import RedisUsers, UserQuery
from online.recommend.loaded_release import read_published
from tests.unit.online.world import SourceWorld

Answered = Callable[[dict[bytes, bytes]], StoredUser | None]
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


@pytest.fixture
def answered(client: RedisUsers, monkeypatch: pytest.MonkeyPatch) -> Answered:
    """The user that is made of a hash."""

    def read(stored: dict[bytes, bytes]) -> StoredUser | None:
        answers = stored, 1, {}
        monkeypatch.setattr(Pipeline, "execute", lambda _: answers)
        return client.call(UserQuery.of(1, WORLD.published.manifest)).user

    return read


def test_a_complete_hash_is_a_user(answered: Answered) -> None:
    user = answered({**STORED, b"later": b"x"})
    assert user is not None
    assert user.number == 17
    assert user.seen.tolist() == [7, 9]
    assert user.vectors["fm"].tolist() == [1.0, 2.0]
    assert len(user.history) == len(WORLD.histories[1])


@pytest.mark.parametrize("field", ["number", "term", "filter", "profile", "history"])
def test_half_a_user_is_an_error(answered: Answered, field: str) -> None:
    stored = {name: raw for name, raw in STORED.items() if name != field.encode()}
    with pytest.raises(StoredError, match=f"incomplete user 1: no field '{field}'"):
        answered(stored)


@pytest.mark.parametrize("field", [b"number", b"filter", b"history", b"vector_fm"])
def test_bytes_that_are_cut_off_are_an_error(answered: Answered, field: bytes) -> None:
    with pytest.raises(StoredError, match="user 1 that cannot be read"):
        answered({**STORED, field: STORED[field][:-1]})


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
        read_published(client, WORLD.release)
