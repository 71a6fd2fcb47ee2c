from __future__ import annotations

from collections.abc import Sequence

import pytest

from data_exchange_center.events import Event
from data_exchange_center.own_ids import OwnId
from data_exchange_center.steps import StepError
from research.measure import event_speed
from research.measure.event_speed import BATCH, PREFIX, batch, change_s


class Slow:
    """Recommends 1, 2, 3, ... without what was told, which it knows after some answers more."""

    def __init__(self, answers: int) -> None:
        self.told: list[Event] = []
        self.asked_since = 0
        self._answers = answers

    def ask(self, userid: OwnId, timestamp: int | None, size: int) -> Sequence[OwnId]:
        assert timestamp is None, "who names a second does not see it"
        self.asked_since += bool(self.told)
        gone = {event.itemid for event in self.told} if self.asked_since >= self._answers else set()
        return [item for item in range(1, size + 1) if item not in gone]

    def tell(self, events: Sequence[Event]) -> None:
        self.told += events

    def take_back(self, userid: OwnId, prefix: str) -> None:
        raise AssertionError


@pytest.mark.parametrize("answers", [1, 4])
def test_the_answer_is_waited_for_that_lacks_the_item(answers: int) -> None:
    loop = Slow(answers)
    assert change_s(loop, 7, "rating", 5.0) > 0
    assert loop.asked_since == answers
    (event,) = loop.told
    assert (event.userid, event.itemid, event.type, event.value) == (7, 1, "rating", 5.0)
    assert event.eventid.startswith(PREFIX)


def test_an_event_that_changes_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_speed, "WITHIN_S", 0.05)
    with pytest.raises(StepError, match="User 7 has rated 1 and is still recommended it"):
        change_s(Slow(10**9), 7, "rating", 5.0)


def test_no_two_events_of_all_batches_are_one() -> None:
    events = [event for number in range(3) for event in batch(number, f"s{number}", [1, 2, 3], "click", None)]
    assert len({event.eventid for event in events}) == len(events) == 3 * BATCH
