"""What the questions keep in a real Redis: what users were shown, and the items that rules may name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.events.log import EventLog
from extras.items.store import ItemStore, Record
from extras.questions.rules import added
from extras.questions.seen_again import ANSWERS, KEPT_S, Shown, ShownItems
from tests.unit.online.world import DefaultWorld

DATASET, USER = "shop", "ann"
FAR = 2**45  # milliseconds, after any mark


@pytest.fixture
def shown(settings: Settings) -> Iterator[ShownItems]:
    with closing(ShownItems(settings.redis)) as shown:
        yield shown


def test_the_newest_answers_of_a_user_are_kept_until_the_user_is_forgotten(
    shown: ShownItems, log: EventLog, client: redis.Redis
) -> None:
    shown.write([Shown(DATASET, USER, n, (f"{n}", "always")) for n in range(ANSWERS + 5)])
    shown.write([Shown(DATASET, "bob", 1, ("other",))])
    items = shown.call((DATASET, USER))
    assert items.count("always") == ANSWERS
    assert set(items) - {"always"} == {f"{n}" for n in range(5, ANSWERS + 5)}
    assert 0 < client.ttl(wire.shown_key(DATASET, USER)) <= KEPT_S  # type: ignore[operator]
    log.forget(USER, DATASET)
    assert shown.call((DATASET, USER)) == []
    shown.write([Shown(DATASET, USER, 1, ("late",)), Shown(DATASET, USER, FAR, ("new",))])
    assert shown.call((DATASET, USER)) == ["new"], "an answer from before that was on its way is not kept"
    assert shown.call((DATASET, "bob")) == ["other"]


# Rules may name an item that was added without a release


def test_items_that_were_added_are_known(settings: Settings) -> None:
    dataset = DefaultWorld().published.manifest.dataset
    assert added(settings, dataset) == {}
    store = ItemStore(settings.redis)
    for own, title in ((9001, "New"), (9002, None)):
        store.change(dataset.base_name, own, lambda before, title=title: Record(title=title))  # type: ignore[misc]
    assert added(settings, dataset) == {9001: "New"}
    store.close()
