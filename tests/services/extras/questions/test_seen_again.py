"""What users were shown, in a real Redis: the newest answers are kept, and nothing of who was forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.events.log import EventLog
from extras.questions.seen_again import ANSWERS, KEPT_S, Shown, ShownItems

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
