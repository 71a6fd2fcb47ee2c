from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extras.explain.hook import WhyNotRequest, absent
from extras.explain.shapes import WhyNot
from online.clients.base import ServiceError
from online.recommend.types import Request, Stopwatch
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import (
    AT,
    UNKNOWN_USER,
)

USER = 8


def why_not(fakes: Fakes, itemid: int, userid: int = USER, **more: Any) -> WhyNot:
    given = {"userid": f"{userid}", "itemid": f"{itemid}", "timestamp": AT, **more}
    return absent(fakes.parts, WhyNotRequest(**given), Stopwatch())


def listed(fakes: Fakes, userid: int = USER, size: int = 200) -> list[int]:
    request = Request(userid=userid, size=size, timestamp=AT)
    return list(fakes.recommender.recommend(request).itemids)


@BOTH_KINDS
def test_it_says_of_every_item_what_the_list_says(fakes: Fakes) -> None:
    for userid in fakes.world.userids:
        there, seen = listed(fakes, userid, size=50), fakes.world.seen[userid]
        for itemid in fakes.world.itemids[userid :: len(fakes.world.userids) * 4]:
            found = why_not(fakes, itemid, userid)
            assert (found.code == "in_the_list") == (itemid in there)
            assert (found.code == "seen") == (itemid in seen)
            assert "None" not in found.sentence.en + found.sentence.zh


def test_an_item_seen_later_is_not_seen_yet(fakes: Fakes) -> None:
    """A request of an earlier time knows nothing of the newest event."""
    history = fakes.world.histories[USER]
    newest, second = int(history.item_numbers[0]), int(history.times[1])
    assert why_not(fakes, newest).code == "seen"
    assert why_not(fakes, newest, timestamp=second + 1).code != "seen"


@BOTH_KINDS
def test_an_item_ranked_below_the_cut(fakes: Fakes) -> None:
    there = listed(fakes)
    found = why_not(fakes, there[59])
    assert found.code == "ranked_below"
    assert found.ranked.rank == 60
    assert "60 of" in found.sentence.en
    against = [moved.column for moved in found.effects if moved.effect < 0]
    for column in against[:1]:
        assert column in found.sentence.en
    assert why_not(fakes, there[59], size=60).code == "in_the_list"


def test_an_item_found_by_no_channel(fakes: Fakes) -> None:
    world = fakes.world
    vectors = world.user_vectors(USER)
    unseen = [itemid for itemid in world.trained if itemid not in world.seen[USER]]
    for itemid in set(unseen) - set(world.recalled(USER).ids.tolist()):
        answer = why_not(fakes, itemid)
        assert (answer.code, answer.fused.rank) == ("not_found", None)
        for name, at in answer.channels.items():
            of_items = [world.item_vectors[name][each] for each in unseen]
            products = np.array(of_items) @ vectors[name]
            mine = products[unseen.index(itemid)]
            assert at.rank == 1 + (products > mine).sum()
            assert at.score == pytest.approx(mine, abs=1e-4)
            assert f"{name} {at.rank}" in answer.sentence.en


@BOTH_KINDS
def test_an_item_without_features(fakes: Fakes) -> None:
    item = fakes.world.no_features_item
    fakes.world.seen[USER].remove(item)
    vectors = fakes.world.user_vectors(USER)
    for channel, table in fakes.world.item_vectors.items():
        table[item] = 100 * np.sign(vectors[channel]).astype(np.float32)
    assert why_not(fakes, item).code == "no_features"


def test_unknown_item_and_unknown_user(fakes: Fakes) -> None:
    assert why_not(fakes, 123_456_789).code == "unknown_item"
    best, last = fakes.world.popular[0][0], fakes.world.popular[-1][0]
    assert why_not(fakes, best, UNKNOWN_USER).code == "in_the_list"
    found = why_not(fakes, last, UNKNOWN_USER)
    assert found.code == "unknown_user"
    assert found.ranked.rank == len(fakes.world.popular)


@pytest.mark.parametrize("service", SERVICES)
def test_it_is_strict(fakes: Fakes, service: str) -> None:
    listed(fakes)
    fakes.service(service).down = True
    with pytest.raises(ServiceError) as caught:
        why_not(fakes, fakes.world.itemids[0])
    assert caught.value.service == service


def test_an_item_that_a_rule_hides(fakes: Fakes) -> None:
    fakes.parts.in_order = lambda opened, itemids: np.arange(0)
    assert why_not(fakes, fakes.world.itemids[5]).code == "hidden"
