from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.release_parts import DatasetIds, OwnIds
from offline.data.sequences import Sequences
from research.measure.live_events import (
    PREFIX,
    Replay,
    Replayed,
    replay_all,
    replayed,
    summary,
)
from tests.datasets import STARS

USERS, EACH, HELD = (3, 8), 30, 10
ABOUT = {"command": "make evaluate-live", "release": "one"}


class NextInLine:
    """Recommends the items that come after the last event's, and knows nothing else."""

    def __init__(self) -> None:
        self.reported: dict[OwnId, list[Event]] = {}

    def ask(self, userid: OwnId, timestamp: int | None, size: int) -> Sequence[OwnId]:
        known = [
            event
            for event in self.reported.get(userid, [])
            if timestamp is None or event.timestamp < timestamp
        ]
        last = max(known, key=lambda event: event.timestamp).itemid if known else 1_000
        return list(range(last + 1, last + 1 + size))

    def tell(self, events: Sequence[Event]) -> None:
        for event in events:
            self.reported.setdefault(event.userid, []).append(event)

    def take_back(self, userid: OwnId, prefix: str) -> None:
        self.reported[userid] = [
            event
            for event in self.reported.get(userid, [])
            if not event.eventid.startswith(prefix)
        ]


@pytest.fixture
def replay() -> Replay:
    """Everybody sees the items in the order of their numbers, and likes them all."""
    events = len(USERS) * EACH
    data = Sequences(
        user_numbers=np.array(USERS),
        item_numbers=np.arange(1, EACH + 1),
        starts=np.arange(0, events + 1, EACH),
        items=np.tile(np.arange(1, EACH + 1), len(USERS)),
        ratings=np.full(events, 5),
        liked=np.ones(events, bool),
        times=np.tile(np.arange(EACH) * 60, len(USERS)),
    )
    ids = DatasetIds(
        OwnIds(list(USERS), [str(user) for user in USERS], "integer"),
        OwnIds(
            list(range(1, EACH + 1)),
            [str(item) for item in range(1, EACH + 1)],
            "integer",
        ),
    )
    return Replay(data, np.full(len(USERS), HELD), ids, STARS)


@pytest.mark.parametrize("late", [0, 1, 5, 100])
def test_later_events_leave_the_list_further_behind(replay: Replay, late: int) -> None:
    ranks = replayed(NextInLine(), 0, replay, late)
    assert ranks.tolist() == [
        late + 1.0 if step > late else float("inf") for step in range(HELD)
    ]


def test_nothing_stays_of_it_and_nothing_else_goes(
    replay: Replay, tmp_path: Path
) -> None:
    loop = NextInLine()

    def each(
        of: Callable[[NextInLine, int], Replayed], users: Sequence[int]
    ) -> Iterator[Replayed]:
        return (of(loop, user) for user in users)

    theirs = Event("theirs", USERS[0], 900, "rating", 5, 4.0)
    loop.tell(
        [theirs, Event(f"{PREFIX}of a killed run", USERS[0], 29, "rating", 6, 4.0)]
    )
    found = summary(replay_all(replay, [0, 1], tmp_path / "kept", ABOUT, each))
    assert [event for events in loop.reported.values() for event in events] == [theirs]
    rows = found["replay"]
    assert rows["sent at once"]["by event"] == [0.0, *[1.0] * (HELD - 1)]
    assert rows["never sent"]["hit@50"]["mean"] == 0
    assert rows["sent at once"]["events"] == rows["never sent"]["events"] == 2 * HELD
    assert found["unknown_users"]["1"]["mean"] == 1

    def broken(userid: OwnId, timestamp: int | None, size: int) -> Sequence[OwnId]:
        if loop.reported.get(userid, []) not in ([], [theirs]):
            raise ConnectionError
        return []

    loop.ask = broken  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        replay_all(replay, [0], tmp_path / "kept", ABOUT, each)
    assert [event for events in loop.reported.values() for event in events] == [theirs]
