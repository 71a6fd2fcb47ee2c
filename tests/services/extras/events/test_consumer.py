"""The log in a real Redis, brought to Parquet: each acknowledged event once, whatever is killed when."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import redis

from data_exchange_center.events import Event
from data_exchange_center.steps import StepError
from extras.events.event_parts import Entry, EventParts, bring
from extras.events.log import EventLog, Recording, event_log_key
from offline.feedback import exported
from tests.services.offline_to_online.killed_at import Killed

FILMS = "films"  # a data set


@pytest.fixture(autouse=True)
def _empty(client: redis.Redis) -> None:
    client.flushdb()


def rating(userid: int, number: int) -> Event:
    eventid = f"u{userid}-e{number}"
    return Event(eventid, userid, number, "rating", 1_000_000 + number, 5.0)


def eventids(parts: EventParts) -> list[str]:
    return sorted(exported(parts.folder)["eventid"].dropna())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_consumer_killed_anywhere_loses_and_repeats_nothing(
    moment: str,
    log: EventLog,
    client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed around each of its writes in turn, with somebody forgotten in between."""
    parts = EventParts(tmp_path)
    events = [rating(userid, number) for userid in (1, 2, 3) for number in range(4)]
    log.call(Recording(FILMS, events))
    log.forget(2, FILMS)
    log.call(Recording(FILMS, [rating(2, 9)]))
    original = EventParts._write

    for survived in range(50):
        left = survived

        def mortal(parts: EventParts, path: Path, table: pa.Table) -> None:
            nonlocal left
            if moment == "before" and not left:
                raise Killed
            original(parts, path, table)
            if moment == "after" and not left:
                raise Killed
            left -= 1

        with monkeypatch.context() as patch:
            patch.setattr(EventParts, "_write", mortal)
            try:
                bring(client, FILMS, parts, batch=3)
                break
            except Killed:
                continue
    else:
        pytest.fail("never got through")
    assert survived > 0
    left_of = [event.eventid for event in events if event.userid != 2]
    assert eventids(parts) == sorted([*left_of, "u2-e9"])
    assert bring(client, FILMS, parts) == (0, 0)


def test_two_consumers_with_folders_of_their_own_each_have_all(
    log: EventLog, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In turns, entry by entry."""
    log.call(Recording(FILMS, [rating(1, number) for number in range(6)]))
    one, other = EventParts(tmp_path / "one"), EventParts(tmp_path / "other")
    original = EventParts.append

    def in_turns(parts: EventParts, partition: int, entries: Sequence[Entry]) -> None:
        original(parts, partition, entries)
        if parts is one:
            bring(client, FILMS, other, batch=2)

    monkeypatch.setattr(EventParts, "append", in_turns)
    log.call(Recording(FILMS, [rating(1, 7)]))
    bring(client, FILMS, one, batch=1)
    bring(client, FILMS, other)
    expected = [f"u1-e{number}" for number in (0, 1, 2, 3, 4, 5, 7)]
    assert eventids(one) == eventids(other) == expected


def test_files_that_are_lost_are_written_again(
    log: EventLog, client: redis.Redis, tmp_path: Path
) -> None:
    log.call(Recording(FILMS, [rating(1, 1), rating(2, 1)]))
    parts = EventParts(tmp_path)
    assert bring(client, FILMS, parts) == (2, 0)
    assert bring(client, FILMS, EventParts(tmp_path / "elsewhere")) == (2, 0)
    for path in tmp_path.glob("*.parquet"):
        path.unlink()
    assert bring(client, FILMS, parts) == (2, 0)
    assert eventids(parts) == ["u1-e1", "u2-e1"]


def test_an_entry_that_is_no_event_is_named(
    client: redis.Redis, tmp_path: Path
) -> None:
    entry = client.xadd(event_log_key(FILMS, 0), {"event": "{}"})
    named = rf"entry {entry.decode()} of ml:log:films:\{{0\}} .*XDEL"
    with pytest.raises(StepError, match=named):
        bring(client, FILMS, EventParts(tmp_path))
