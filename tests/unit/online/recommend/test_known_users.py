import pytest

from data_exchange_center.exact import ExactItems
from data_exchange_center.features import Encoded
from online.recommend import recommend
from online.recommend.loaded_release import (
    read_indexed,
)
from online.recommend.recommend import LAST_STATE_MAX_AGE_S, KnownUsers
from tests.unit.online import contracts
from tests.unit.online.fakes import FakeItems
from tests.unit.online.world import SourceWorld, World


@pytest.fixture
def world(kind: type[World]) -> World:
    return kind()


@pytest.fixture
def client(world: World) -> ExactItems:
    return ExactItems.of(
        read_indexed(
            FakeItems(world), world.release, world.itemids, list(world.vector_dims)
        ),
        world.vector_dims,
    )


class TestExactItems(contracts.SearchContract):
    """All of it."""


STATE = SourceWorld().stored(1)
ROW = Encoded.none(SourceWorld().spec.of("user"), rows=1)


KEYS = [("a", userid) for userid in range(4)]


def test_the_least_recent_user_is_evicted_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recommend, "KNOWN_USERS", 2)
    known = KnownUsers()
    for user in (1, 2, 1, 3):
        known.keep(KEYS[user], STATE)
    assert [known.find(key) is not None for key in KEYS] == [False, True, False, True]


def test_a_state_grows_old_and_features_do_not() -> None:
    now = [0.0]
    known = KnownUsers(lambda: now[0])
    user = known.keep(KEYS[1], STATE)
    assert user is not None
    user.features = ROW
    now[0] = LAST_STATE_MAX_AGE_S
    assert known.state(user) is STATE
    now[0] += 0.1
    assert known.state(user) is None
    again = known.keep(KEYS[1], STATE)
    assert again is not None
    assert known.state(again) is STATE
    assert again.features is ROW


def test_releases_are_separate_and_users_are_forgotten() -> None:
    known = KnownUsers()
    for key in (*KEYS, ("b", 1)):
        known.keep(key, STATE)
    assert known.find(("b", 2)) is None
    known.keep(KEYS[0], None)
    known.forget(1)
    kept = [known.find(key) is not None for key in (*KEYS, ("b", 1))]
    assert kept == [False, False, True, True, False]


def test_a_state_read_before_somebody_was_forgotten_is_not_kept() -> None:
    known = KnownUsers()
    before = known.forgotten
    known.follow(1)
    assert known.keep(KEYS[1], STATE, before) is None
    assert known.find(KEYS[1]) is None
    known.keep(KEYS[1], STATE, known.forgotten)
    known.follow(0)  # a count that another process had read earlier
    assert known.find(KEYS[1]) is not None
    known.follow(2)
    assert known.find(KEYS[1]) is None
