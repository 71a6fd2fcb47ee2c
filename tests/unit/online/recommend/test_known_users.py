from __future__ import annotations

from data_exchange_center.features import Encoded
from online.recommend.fallback import KnownUsers
from tests.unit.online.world import SourceWorld

STATE = SourceWorld().stored(1)
ROW = Encoded.none(SourceWorld().spec.of("user"), rows=1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_who_was_here_longest_ago_is_forgotten_first() -> None:
    known = KnownUsers(2, 60)
    for userid in (1, 2, 1, 3):
        known.keep_state("a", userid, STATE)
    assert [known.state("a", userid) is not None for userid in (1, 2, 3)] == [True, False, True]


def test_a_state_grows_old_and_features_do_not() -> None:
    clock = Clock()
    known = KnownUsers(2, 60, clock)
    known.keep_state("a", 1, STATE)
    known.keep_features("a", 1, ROW)
    clock.now = 60
    assert known.state("a", 1) is STATE
    clock.now = 60.1
    assert known.state("a", 1) is None
    assert known.features("a", 1) is ROW
    known.keep_state("a", 1, STATE)
    assert known.state("a", 1) is STATE
    assert known.features("a", 1) is ROW


def test_releases_are_apart_and_features_alone_are_not_remembered() -> None:
    known = KnownUsers(5, 60)
    known.keep_state("a", 1, STATE)
    known.keep_features("b", 1, ROW)
    assert known.state("b", 1) is None
    assert known.features("b", 1) is None
    assert known.features("a", 1) is None


def test_where_somebody_was_forgotten_nothing_older_is_remembered() -> None:
    known = KnownUsers(10, 60)
    known.keep_state("a", 1, STATE)
    known.follow(1)
    assert known.state("a", 1) is None
    known.keep_state("a", 1, STATE, forgotten=0)
    assert known.state("a", 1) is None, "it was read before"
    known.follow(0)
    known.keep_state("a", 1, STATE, known.forgotten)
    assert known.state("a", 1) is STATE
