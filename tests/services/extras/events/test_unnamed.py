"""Events that an earlier version recorded without a data set's name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import redis

from data_exchange_center import artifacts, wire
from data_exchange_center.event_parts import Entry, EventParts
from data_exchange_center.events import Event
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events import s1_log_to_parquet, unnamed
from extras.events.consumer import bring
from extras.events.log import MOST_COUNTING, EventLog, Recording
from offline_to_online.stores.redis import RedisStore
from tests.services.own_redis import own_redis
from tests.unit.offline_to_online.user_rows import row_of
from tests.unit.online.world import DefaultWorld

FILMS = "films"
USERS = range(1, 41)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """The data set that was ingested is `FILMS`."""
    with own_redis(tmp_path / "exchange") as settings:
        artifacts.DATASET.write(settings.exchange_dir, {"name": f"{FILMS}+events"})
        yield settings


def rating(userid: int, number: int, kind: str = "rating") -> Event:
    return Event(f"u{userid}-e{number}", userid, number, kind, 1_000_000 + number, 5.0)


def of_an_earlier_version(client: redis.Redis) -> None:
    """Of each user a rating and a view; user 7 was forgotten and has come back."""
    for userid in USERS:
        tag = f"{{{wire.event_partition(userid)}}}"
        for number, kind, at in ((1, "rating", "events"), (2, "view", "noted")):
            event = rating(userid, number, kind).pack()
            entry = client.xadd(f"ml:log:{tag}", {"event": event}).decode()
            client.hset(f"ml:{at}:{tag}:{userid}", f"u{userid}-e{number}", f"{entry} {event}" if number == 1 else entry)
    client.xadd(f"ml:log:{{{wire.event_partition(7)}}}", {"forget": json.dumps(7)})
    event = rating(7, 3).pack()
    client.xadd(f"ml:log:{{{wire.event_partition(7)}}}", {"event": event})


def test_they_are_not_brought_and_that_is_said(
    settings: Settings, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    of_an_earlier_version(client)
    with closing(EventLog(settings.redis)) as log:
        log.call(Recording("shop", [rating(1, 5)]))
    with pytest.raises(StepError, match=r"forget 1 user .*: make name-events dataset=<name>"):
        s1_log_to_parquet.main(settings)
    said = capsys.readouterr().out
    assert "shop: 1 new events" in said
    assert "82 events of an earlier version name no data set" in said
    assert "make name-events dataset=<name>" in said
    assert EventParts(settings.events_dir("shop")).read()["eventid"].tolist() == ["u1-e5"]


def test_they_can_be_named_also_after_an_interruption(
    settings: Settings, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_an_earlier_version(client)
    left, original = 30, EventLog._call

    def mortal(log: EventLog, query: Recording) -> tuple[bool, ...]:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return original(log, query)

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "_call", mortal)
        with pytest.raises(KeyboardInterrupt):
            unnamed.main(settings, FILMS)
    unnamed.main(settings, FILMS)
    s1_log_to_parquet.main(settings)
    found = EventParts(settings.events_dir(FILMS)).read()["eventid"].dropna().tolist()
    expected = [f"u{userid}-e{number}" for userid in USERS if userid != 7 for number in (1, 2)] + ["u7-e3"]
    assert sorted(found) == sorted(expected), "each once"
    assert client.hlen(wire.noted_events_key(FILMS, 3)) == 1, "what is only noted still is"
    assert client.hexists(wire.user_events_key(FILMS, 7), wire.FORGOTTEN)
    assert not [key for key in client.scan_iter("ml:*") if b"ml:log:{" in key or b"ml:events:{" in key]
    with pytest.raises(StepError, match="no events without"):
        unnamed.main(settings, FILMS)


def test_only_a_data_set_that_is_there_can_be_named(settings: Settings, client: redis.Redis) -> None:
    """A slip of the pen loses nothing."""
    of_an_earlier_version(client)
    published = DefaultWorld(release="eeeeeeeeeeee").published
    kept = published.manifest.dataset.base_name
    client.set(wire.manifest_key("eeeeeeeeeeee"), published.model_dump_json())
    client.set(wire.manifest_key("dddddddddddd"), "{}")  # of another version
    client.rpush(wire.HISTORY_KEY, "eeeeeeeeeeee", "dddddddddddd")
    old = EventParts(settings.service_dir("events"))
    old.append(0, [Entry((1, 0), 1, rating(1, 1))])
    before = sorted(client.scan_iter("ml:*"))
    with pytest.raises(StepError, match=f"no data set 'flims'.*: {', '.join(sorted((FILMS, kept)))}"):
        unnamed.main(settings, "flims")
    assert sorted(client.scan_iter("ml:*")) == before
    assert old.files()
    unnamed.main(settings, kept)
    assert client.exists(wire.user_events_key(kept, 3))
    assert not old.files()


def test_what_a_user_did_since_the_upgrade_is_kept_where_the_earlier_version_forgot_the_user(
    settings: Settings, client: redis.Redis
) -> None:
    of_an_earlier_version(client)
    view = rating(7, 5, "view")
    with closing(EventLog(settings.redis)) as log:
        log.call(Recording(FILMS, [rating(7, 4), view, rating(8, 4)], {"view"}))
    bring(client, FILMS, EventParts(settings.events_dir(FILMS)))
    unnamed.main(settings, FILMS)
    s1_log_to_parquet.main(settings)
    found = EventParts(settings.events_dir(FILMS)).read()
    of_user = found.loc[found["userid"] == "7", "eventid"]
    assert sorted(of_user.dropna()) == ["u7-e3", "u7-e4", "u7-e5"]
    assert of_user.isna().any(), "what the data set has of the user is not trained on"
    assert client.hkeys(wire.noted_events_key(FILMS, 7)) == [b"u7-e5"]
    assert {b"", b"u7-e3", b"u7-e4"} == set(client.hkeys(wire.user_events_key(FILMS, 7)))


def test_who_was_forgotten_since_the_upgrade_is_not_brought_back(settings: Settings, client: redis.Redis) -> None:
    of_an_earlier_version(client)
    with closing(EventLog(settings.redis)) as log:
        for userid in (7, 8):
            log.forget(userid, FILMS)
    unnamed.main(settings, FILMS)
    for userid in (7, 8):
        assert client.hkeys(wire.user_events_key(FILMS, userid)) == [b""]
        assert not client.exists(wire.noted_events_key(FILMS, userid))


def test_more_events_of_a_user_than_a_server_takes_are_named_all_the_same(
    settings: Settings, client: redis.Redis
) -> None:
    of_an_earlier_version(client)
    with closing(EventLog(settings.redis)) as log:
        log.call(Recording(FILMS, [rating(3, number) for number in range(10, 10 + MOST_COUNTING)]))
    unnamed.main(settings, FILMS)
    assert client.hlen(wire.user_events_key(FILMS, 3)) == MOST_COUNTING + 1


def test_nobody_is_loaded_before_it_is_said_of_which_data_set_whoever_was_forgotten_is(
    settings: Settings, client: redis.Redis
) -> None:
    of_an_earlier_version(client)
    store, rows = RedisStore(settings), [row_of(number, [], None, [1]) for number in (7, 8)]
    with pytest.raises(StepError, match=r"forget 1 user .*: make name-events dataset=<name>"):
        store.remembered(rows, FILMS)
    unnamed.main(settings, FILMS)
    assert [row.own_id for row in store.remembered(rows, FILMS)] == [8]


@pytest.mark.parametrize("survived", range(1, 5))
def test_what_comes_after_a_forgetting_is_kept_wherever_taking_it_over_ends(
    survived: int, settings: Settings, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the forgetting was taken over, and after each event that follows it in the earlier version's log."""
    tag = f"{{{wire.event_partition(7)}}}"
    for number in (1, 2):
        client.xadd(f"ml:log:{tag}", {"event": rating(7, number).pack()})
    client.xadd(f"ml:log:{tag}", {"forget": json.dumps(7)})
    for number in (3, 4):
        client.xadd(f"ml:log:{tag}", {"event": rating(7, number).pack()})
    since = [rating(7, 5), rating(7, 6, "view"), rating(7, 7)]
    with closing(EventLog(settings.redis)) as log:
        log.call(Recording(FILMS, since, {"view"}))
    left, originals = survived, {name: getattr(EventLog, name) for name in ("forget", "_call")}

    def mortal(name: str) -> Callable[..., object]:
        def run(*arguments: Any, **more: Any) -> object:
            nonlocal left
            answer = originals[name](*arguments, **more)
            left -= 1
            if not left:
                raise KeyboardInterrupt
            return answer

        return run

    with monkeypatch.context() as patch:
        for name in originals:
            patch.setattr(EventLog, name, mortal(name))
        with pytest.raises(KeyboardInterrupt) if survived < 4 else nullcontext():
            unnamed.main(settings, FILMS)
    key, noted = wire.user_events_key(FILMS, 7), wire.noted_events_key(FILMS, 7)
    assert {b"u7-e5", b"u7-e7"} <= set(client.hkeys(key)), "also as long as it is not run again"
    assert client.hkeys(noted) == [b"u7-e6"]
    if survived < 4:
        unnamed.main(settings, FILMS)
    assert set(client.hkeys(key)) == {b"", b"u7-e3", b"u7-e4", b"u7-e5", b"u7-e7"}
    parts = EventParts(settings.events_dir(FILMS))
    bring(client, FILMS, parts)
    read = parts.read()
    assert read["eventid"].isna().tolist()[0], "the mark is before what came after it"
    assert read["eventid"].dropna().tolist()[:3] == ["u7-e5", "u7-e6", "u7-e7"], "in their order"
    entries = {
        entry.decode(): fields[b"event"].decode()
        for entry, fields in client.xrange(wire.event_log_key(FILMS, wire.event_partition(7)))
        if b"event" in fields
    }
    for raw in (raw.decode() for name, raw in client.hgetall(key).items() if name):
        place, _, event = raw.partition(" ")
        assert entries[place] == event, "log and state are one"
    assert client.hget(noted, "u7-e6").decode() in entries


def test_files_of_an_earlier_version_are_named_where_redis_has_lost_what_they_have(
    settings: Settings, client: redis.Redis
) -> None:
    parts = EventParts(settings.service_dir("events"))
    for userid in (7, 8, 9):
        events = [Entry((number, userid), userid, rating(userid, number)) for number in (1, 2)]
        parts.append(wire.event_partition(userid), events)
    parts.append(wire.event_partition(7), [Entry((3, 0), 7, None)])
    with closing(EventLog(settings.redis)) as log:
        log.forget(9, FILMS)
    store, rows = RedisStore(settings), [row_of(number, [], None, [1]) for number in (7, 8)]
    with pytest.raises(StepError, match="make name-events"):
        store.remembered(rows, FILMS)
    unnamed.main(settings, FILMS)
    assert not parts.files()
    s1_log_to_parquet.main(settings)
    named = EventParts(settings.events_dir(FILMS))
    assert sorted(named.read()["eventid"].dropna()) == ["u8-e1", "u8-e2"]
    assert named.forgotten().keys() == {"7", "9"}
    assert [row.own_id for row in store.remembered(rows, FILMS)] == [8]
