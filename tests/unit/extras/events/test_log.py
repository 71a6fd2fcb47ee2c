"""The log of events over a Redis that is made up: how long its steps may take; and Feast's layout, which it knows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.history import History
from data_exchange_center.settings import RedisSettings
from extras.events import log as functions
from extras.events.events import Event, Logged, updated
from extras.events.hook import unneeded
from extras.events.log import MOST_COUNTING, Call, EventLog, Recording, feast_fields, feast_online_key
from online.clients import base
from online.clients.base import ServiceError
from online.clients.redis import StoredUser
from tests.datasets import STARS

ITEMS: dict[OwnId, int] = {number: number for number in range(1, MOST_COUNTING + 2)}
NEW = Event("new", 7, MOST_COUNTING + 1, "rating", 9_000, 5.0)
OTHER = Event("other", 8, 1, "rating", 9_000, 5.0)


class MadeUpRedis:
    """Runs the functions of which there is a Lua version, by a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, counting: dict[OwnId, set[str]]) -> None:
        self.counting = counting  # user -> eventids
        self.now = 0.0
        monkeypatch.setattr(functions, "run", self.run)
        clock = SimpleNamespace(monotonic=lambda: self.now, perf_counter=lambda: self.now)
        monkeypatch.setattr(base, "time", clock)

    def run(self, client: Any, calls: Sequence[Call], replicas: int, timeout_s: float) -> list[Any]:
        current = base.current()
        if not current.left():
            raise TimeoutError
        return [self._fcall(call.function, call.keys[1], call.arguments) for call in calls]

    def _fcall(self, name: str, events: str, args: tuple[Any, ...]) -> Any:
        counting = self.counting.setdefault(int(events.rpartition(":")[2]), set())
        if name == functions.COMPACT:
            counting.difference_update(args)
            return None
        most, *told = args
        new = set(told[::3]) - counting
        if len(counting) + len(new) > most:
            return [-1]
        counting |= new
        return [int(eventid in new) for eventid in told[::3]]


def a_full_user(trained_on: int) -> StoredUser:
    """With as many events as count, each of an item of its own; the first ones are in the release's history."""
    events = [Logged(n, (1, n), Event(f"e{n}", 7, n, "rating", n, 5.0)) for n in range(1, MOST_COUNTING + 1)]
    nothing = np.empty(0, np.int32)
    history, seen = updated(History.empty(), nothing, events[:trained_on], ITEMS, STARS)
    return StoredUser(1, (), seen, nothing, history, {}, tuple(events))


def test_what_is_not_needed_may_take_longer_to_find_than_redis_may_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    user = a_full_user(trained_on=1_500)
    release = SimpleNamespace(numbers=ITEMS, manifest=SimpleNamespace(dataset=STARS))
    there = MadeUpRedis(monkeypatch, {7: {each.event.eventid for each in user.events}})

    def slowly(userid: OwnId, dataset: str) -> set[str]:
        assert base.current() is None
        there.now += 3.0  # a release was opened
        return unneeded([(user, release)])  # type: ignore[list-item]

    with closing(EventLog(RedisSettings(), slowly)) as log:
        assert log.call(Recording("films", [NEW, OTHER])) == (True, True)
    assert there.counting == {7: {f"e{n}" for n in range(1_501, MOST_COUNTING + 1)} | {"new"}, 8: {"other"}}


def test_where_it_cannot_be_found_the_service_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    MadeUpRedis(monkeypatch, {7: {f"e{n}" for n in range(MOST_COUNTING)}})

    def fails(userid: OwnId, dataset: str) -> set[str]:
        raise ServiceError("redis", "did not answer in time")

    with closing(EventLog(RedisSettings(), fails)) as log, pytest.raises(ServiceError):
        log.call(Recording("films", [NEW]))


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
