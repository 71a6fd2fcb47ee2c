"""Releases change while many ask: no error, and no answer that is of two releases."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
import redis

from data_exchange_center import wire
from tests.services.online.load import Answered, few
from tests.services.online.main.conftest import Busy
from tests.unit.online.world import DefaultWorld, SourceWorld, World

SWITCHES = 8

pytestmark = pytest.mark.parametrize("world", [DefaultWorld], ids=["DefaultWorld"], indirect=True)


def content(answer: Answered) -> list[tuple[Any, ...]]:
    return [(item["itemid"], item["title"], item["score"]) for item in answer.body["item_list"]]


def test_activation_and_going_back(busy: Busy, world: World, worlds: Mapping[type[World], World]) -> None:
    """Both are a move of the pointer. What each user is answered from each release alone is known from before."""
    releases = [worlds[kind].release for kind in (SourceWorld, DefaultWorld)]
    expected: dict[tuple[str, int], list[tuple[Any, ...]]] = {}

    def go_live(release: str) -> None:
        client.set(wire.LIVE_KEY, release)
        busy.load.wait(lambda answer: answer.whole and answer.body["release"] == release, 10)

    busy.wait_whole_for_all(10)
    with redis.Redis(port=busy.stack.redis.port) as client:
        try:
            for release in releases:
                go_live(release)
                for userid in (1, 2, 3):
                    alone = busy.load.wait(
                        lambda answer, u=userid, r=release: (
                            answer.whole and (answer.body["userid"], answer.body["release"]) == (u, r)
                        ),
                        10,
                    )
                    expected[release, userid] = content(alone)
            begin = time.monotonic()
            for turn in range(SWITCHES):
                go_live(releases[turn % 2])
            for turn in range(SWITCHES):  # without waiting for the one before to have answered
                client.set(wire.LIVE_KEY, releases[turn % 2])
                time.sleep(0.05)
        finally:
            client.set(wire.LIVE_KEY, world.release)
    busy.load.wait(lambda answer: answer.whole and answer.body["release"] == world.release, 10)
    answers = busy.load.between(begin, time.monotonic())
    assert {each.status for each in answers} == {200}
    assert {each.body["release"] for each in answers} == set(releases)
    assert expected[releases[0], 1] != expected[releases[1], 1]
    whole = [each for each in answers if each.whole]
    mixed = [each for each in whole if content(each) != expected[each.body["release"], each.body["userid"]]]
    assert mixed == []
    lacking = [each for each in answers if not each.whole]
    assert few(lacking, answers), lacking[:5]
