from __future__ import annotations

import pytest

from data_exchange_center.exact import ExactItems
from data_exchange_center.features import Encoded
from online.recommend.known_users import KnownUsers
from online.recommend.loaded_release import read_indexed
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


def test_the_least_recent_user_is_evicted_first() -> None:
    known = KnownUsers(2, 60)
    for userid in (1, 2, 1, 3):
        known.keep_state("a", userid, STATE)
    assert [known.state("a", userid) is not None for userid in (1, 2, 3)] == [
        True,
        False,
        True,
    ]


def test_a_state_grows_old_and_features_do_not() -> None:
    now = [0.0]
    known = KnownUsers(2, 60, lambda: now[0])
    known.keep_state("a", 1, STATE)
    known.keep_features("a", 1, ROW)
    now[0] = 60
    assert known.state("a", 1) is STATE
    now[0] = 60.1
    assert known.state("a", 1) is None
    assert known.features("a", 1) is ROW
    known.keep_state("a", 1, STATE)
    assert known.state("a", 1) is STATE
    assert known.features("a", 1) is ROW


def test_releases_are_separate_and_need_a_state() -> None:
    known = KnownUsers(5, 60)
    known.keep_state("a", 1, STATE)
    known.keep_features("b", 1, ROW)
    assert known.state("b", 1) is None
    assert known.features("b", 1) is None
    assert known.features("a", 1) is None


def test_a_state_read_before_somebody_was_forgotten_is_not_kept() -> None:
    known = KnownUsers(5, 60)
    before = known.forgotten
    known.follow(1)
    known.keep_state("a", 1, STATE, before)
    assert known.state("a", 1) is None
    known.keep_state("a", 1, STATE, known.forgotten)
    known.follow(0)  # a count that another process had read earlier
    assert known.state("a", 1) is STATE
    known.follow(2)
    assert known.state("a", 1) is None
