"""The log of events in a real Redis: what is acknowledged is there, once, whatever happens."""

from __future__ import annotations

import json
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from threading import Semaphore
from typing import Any

import psutil
import pytest
import redis
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.settings import Settings
from extras.events import s1_log_to_parquet
from extras.events.event_parts import EventParts, bring, trim_noted
from extras.events.log import (
    STREAMS,
    Call,
    EventLog,
    Recording,
    TooManyEventsError,
    event_log_key,
    exposure_user,
    exposures_key,
    feast_fields,
    feast_online_key,
)
from extras.page.users import Listing, UserList
from offline_to_online.stores.base import redis_client
from offline_to_online.stores.redis import RedisStore
from online.clients.base import NEVER, ServiceError, current
from online.clients.redis import RedisUsers, UserQuery
from stack.supervision import Supervisor
from tests.redis_of import redis_of
from tests.unit.offline_to_online.online_side import row_of
from tests.unit.online.world import DefaultWorld
from tests.waiting import until

RELEASE = "eeeeeeeeeeee"
FILMS = "films"  # a data set
WRITERS, EACH = 32, 25


@pytest.fixture(scope="module", autouse=True)
def _kept(settings: Settings) -> None:
    """The release is."""
    with redis_client(settings) as client:
        client.set(wire.manifest_key(RELEASE), "{}")


def rating(userid: int, number: int, eventid: str | None = None) -> Event:
    return Event(
        eventid or f"e{number}", userid, number, "rating", 1_000_000 + number, 5.0
    )


def logged(client: redis.Redis, userid: int) -> list[Event]:
    """The user's events in the log, in its order."""
    entries = client.xrange(event_log_key(FILMS, wire.event_partition(userid)))
    events = [
        Event.unpack(fields[b"event"]) for _, fields in entries if b"event" in fields
    ]
    return [event for event in events if event.userid == userid]


def state(settings: Settings, userid: int) -> list[Event]:
    """The events that a request for the user is answered with."""
    with closing(RedisUsers(settings.redis)) as users:
        user = users.call(UserQuery(userid, RELEASE, FILMS)).user
    return (
        [each.event for each in sorted(user.events, key=lambda each: each.position)]
        if user
        else []
    )


def test_32_writers_on_one_user(settings: Settings, client: redis.Redis) -> None:
    """Every event is sent twice, by two of them, in batches of random sizes."""
    logs = [EventLog(settings.redis) for _ in range(WRITERS)]

    def write(writer: int) -> int:
        rng = random.Random(writer)
        mine = [
            rating(121, other * EACH + n)
            for other in (writer, (writer + 1) % WRITERS)
            for n in range(EACH)
        ]
        rng.shuffle(mine)
        new = 0
        while mine:
            size = rng.randint(1, 5)
            batch, mine = mine[:size], mine[size:]
            new += sum(logs[writer].call(Recording(FILMS, batch)))
        return new

    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            new = sum(pool.map(write, range(WRITERS)))
    finally:
        for each in logs:
            each.close()
    assert new == WRITERS * EACH
    there = logged(client, 121)
    assert there == state(settings, 121), "log and state are one"
    assert sorted(event.itemid for event in there) == list(range(WRITERS * EACH))


def test_acknowledged_events_survive_a_killed_redis(
    settings: Settings, log: EventLog, client: redis.Redis
) -> None:
    """Killed again and again while events come: who has no answer sends the same once more."""
    assert client.config_get("appendfsync") == {"appendfsync": "always"}
    supervisor = Supervisor(settings)
    again = Retrying(
        stop=stop_after_delay(60),
        wait=wait_fixed(0.05),
        retry=retry_if_exception_type(ServiceError),
    )
    acknowledged = 0
    for number in range(300):
        if number % 100 == 50:
            psutil.Process(supervisor.processes()["redis"]["pid"]).send_signal(
                signal.SIGKILL
            )
        again(log.call, Recording(FILMS, [rating(131, number)]))
        acknowledged += 1
    expected = [rating(131, number) for number in range(acknowledged)]
    with redis_client(settings) as fresh:
        assert logged(fresh, 131) == state(settings, 131) == expected


def test_the_functions_are_loaded_again_where_they_are_lost(
    log: EventLog, client: redis.Redis
) -> None:
    log.call(Recording(FILMS, [rating(141, 1)]))
    client.function_flush()
    assert log.call(Recording(FILMS, [rating(141, 2), rating(142, 2)])) == (True, True)
    client.function_flush()
    assert log.forget(142, FILMS).events == 1


def test_a_forgotten_user_is_in_no_log_and_no_state(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    key = wire.user_key(RELEASE, 151)
    client.lpush(wire.PUBLISHED_KEY, RELEASE)
    client.hset(key, mapping={wire.USER_NUMBER: wire.pack_ids([17])})
    lists = wire.ids_key(RELEASE), wire.event_counts_key(RELEASE)
    for each in lists:
        client.zadd(each, {"151": 0, "152": 0})
    with redis_of(settings, db=settings.redis.feast_db) as features:
        features.hset(feast_online_key(17), "x", "1")
        log.call(Recording(FILMS, [rating(151, 1), rating(151, 2), rating(152, 1)]))
        forgotten = log.forget(151, FILMS)
        assert (forgotten.events, forgotten.releases) == (2, 1)
        assert not features.exists(feast_online_key(17))
    assert not client.exists(key)
    assert [client.zrange(each, 0, -1) for each in lists] == [[b"152"], [b"152"]]
    assert logged(client, 151) == state(settings, 151) == []
    stream = client.xrange(event_log_key(FILMS, wire.event_partition(151)))
    reported = [
        json.loads(fields[b"forget"]) for _, fields in stream if b"forget" in fields
    ]
    assert reported == [151], "who has read the log is reported to forget, too"
    # another release brings the user back
    client.hset(key, mapping={wire.USER_NUMBER: wire.pack_ids([17])})
    assert RedisUsers(settings.redis).call(UserQuery(151, RELEASE, FILMS)).user is None
    log.call(Recording(FILMS, [rating(151, 3)]))
    assert state(settings, 151) == [rating(151, 3)]
    assert logged(client, 152) == [rating(152, 1)]
    assert (log.forget(151, FILMS).events, log.forget(151, FILMS).events) == (1, 0)


def test_a_user_of_another_data_set_is_somebody_else(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    """A user of the same id, in the same Redis: neither its events nor that it was forgotten count."""
    shop = "shop", "ffffffffffff"
    published = DefaultWorld(release=shop[1], name="shop+events").published
    client.set(wire.manifest_key(shop[1]), published.model_dump_json())
    client.lpush(wire.PUBLISHED_KEY, RELEASE, shop[1])
    for release in (RELEASE, shop[1]):
        client.hset(
            wire.user_key(release, 221), mapping=dict(row_of(9, [], None, [1]).fields())
        )
    assert log.call(Recording("shop", [rating(221, 1)])) == (True,)
    assert log.call(Recording(FILMS, [rating(221, 2, "e1")])) == (True,), (
        "an eventid of another's"
    )
    assert state(settings, 221) == logged(client, 221) == [rating(221, 2, "e1")]
    with closing(RedisUsers(settings.redis)) as users:
        assert users.call(UserQuery(221, shop[1], "shop")).user.events[
            0
        ].event == rating(221, 1)  # type: ignore[union-attr]
        assert log.forget(221, FILMS).events == 1
        assert not client.exists(wire.user_key(RELEASE, 221))
        there = users.call(UserQuery(221, shop[1], "shop")).user
    assert (there.number, len(there.events)) == (9, 1)


def test_noted_events_are_in_the_log_only(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    seen = [
        replace(rating(161, number), type="view", value=None) for number in range(5)
    ]
    assert log.call(Recording(FILMS, seen, {"view"})) == (True,) * 5
    assert log.call(Recording(FILMS, [seen[0], rating(161, 9, "e1")], {"view"})) == (
        False,
        False,
    ), "an id counts once"
    assert logged(client, 161) == seen
    assert state(settings, 161) == []
    assert not client.exists(wire.user_events_key(FILMS, 161)), "no request reads it"
    assert log.forget(161, FILMS).events == 5
    assert logged(client, 161) == []


def test_noted_events_of_a_user_are_limited(
    settings: Settings, client: redis.Redis
) -> None:
    views = [
        replace(rating(241, number), type="view", value=None) for number in range(4)
    ]
    with closing(EventLog(settings.redis, most_noted=3)) as log:
        assert log.call(Recording(FILMS, views[:3], {"view"})) == (True,) * 3
        with pytest.raises(TooManyEventsError, match=r"241.*make events"):
            log.call(Recording(FILMS, [views[3], rating(241, 9)], {"view"}))
        assert logged(client, 241) == views[:3], "none of them"
        assert log.call(Recording(FILMS, [views[0], rating(241, 9)], {"view"})) == (
            False,
            True,
        )


def test_exported_noted_events_are_trimmed(
    settings: Settings, client: redis.Redis, tmp_path: Path
) -> None:
    """The newest stay, and those that are not exported, and what was compacted, which training reads again."""
    views = [
        replace(rating(251, number), type="view", value=None) for number in range(8)
    ]
    with closing(
        EventLog(settings.redis, lambda userid, dataset: ["e90"], most=1, most_noted=8)
    ) as log:
        log.call(Recording(FILMS, [rating(251, 90)]))
        log.call(Recording(FILMS, [rating(251, 91)]))  # the first is compacted
        log.call(Recording(FILMS, views[:6], {"view"}))
        parts = EventParts(tmp_path)
        bring(client, FILMS, parts)
        log.call(Recording(FILMS, views[6:7], {"view"}))
        assert trim_noted(client, FILMS, parts, most=100) == 0
        assert trim_noted(client, FILMS, parts, most=4) == 3
        assert logged(client, 251) == [rating(251, 90), rating(251, 91), *views[3:7]]
        assert log.call(Recording(FILMS, views[7:], {"view"})) == (True,)


def test_compacted_events_do_not_count_as_noted(
    settings: Settings, client: redis.Redis
) -> None:
    views = [
        replace(rating(281, number), type="view", value=None)
        for number in range(100, 103)
    ]
    with closing(
        EventLog(
            settings.redis, lambda userid, dataset: all_of_them, most=2, most_noted=3
        )
    ) as log:
        all_of_them = [f"e{number}" for number in range(20)]
        for number in range(20):
            assert log.call(Recording(FILMS, [rating(281, number)])) == (True,)
        assert log.call(Recording(FILMS, views[:2], {"view"})) == (True, True)
        assert log.call(Recording(FILMS, [rating(281, 0), views[2]], {"view"})) == (
            False,
            True,
        ), "each counts once"
        with pytest.raises(TooManyEventsError):
            log.call(Recording(FILMS, [replace(views[0], eventid="another")], {"view"}))
        assert (
            trim_noted(client, FILMS, EventParts(Path("/nonexistent")), most=1) == 0
        ), "nothing is exported"
        assert log.forget(281, FILMS).events == 23
    assert logged(client, 281) == []
    assert not client.keys("ml:noted:*281*")


def test_forgetting_does_not_scan_the_store(log: EventLog, client: redis.Redis) -> None:
    client.sadd(wire.LOADED_KEY, RELEASE)
    client.config_resetstat()
    log.forget(291, FILMS)
    assert "cmdstat_scan" not in client.info("commandstats")


def test_forgetting_many_noted_events_takes_short_calls(
    settings: Settings, client: redis.Redis
) -> None:
    views = [
        replace(rating(261, number), type="view", value=None) for number in range(2_000)
    ]
    views += [
        replace(rating(262, number), type="view", value=None) for number in range(2_000)
    ]
    with closing(EventLog(settings.redis)) as log:
        for start in range(0, len(views), 500):
            log.call(Recording(FILMS, views[start : start + 500], {"view"}))
        client.config_resetstat()
        assert log.forget(261, FILMS).events == 2_000
    assert client.info("commandstats")["cmdstat_fcall"]["calls"] >= 6
    assert logged(client, 261) == []
    assert len(logged(client, 262)) == 2_000


def test_an_interrupted_forgetting_is_completed_by_a_retry(
    log: EventLog, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [
        replace(rating(271, number), type="view", value=None) for number in range(1_200)
    ]
    for start in range(0, len(views), 500):
        log.call(Recording(FILMS, views[start : start + 500], {"view"}))
    original, calls = log._run, 0

    def dies(*of: Call) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise redis.ConnectionError
        return original(*of)

    with monkeypatch.context() as patch:
        patch.setattr(log, "_run", dies)
        with pytest.raises(ServiceError):
            log.forget(271, FILMS)
    # sent again, by the new user of that id
    log.call(Recording(FILMS, views[:1], {"view"}))
    assert log.forget(271, FILMS).events == 701
    assert logged(client, 271) == []
    assert not client.keys("ml:noted:*271*")


def test_a_forgotten_user_is_in_no_loaded_release_and_no_key(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    """Also where the release was never activated, or is being loaded. The mark alone names the user."""
    name = "zq-forget-me"
    for release in ("cccccccccccc", RELEASE):
        client.sadd(wire.LOADED_KEY, release)
        client.hset(
            wire.user_key(release, name),
            mapping={wire.USER_NUMBER: wire.pack_ids([28])},
        )
    for key in (
        wire.ids_key("cccccccccccc"),
        wire.replacement(wire.event_counts_key(RELEASE)),
    ):
        client.zadd(key, {name: 0})
    client.zadd(wire.ids_key(RELEASE), {name: 0, "another": 0})
    log.call(Recording(FILMS, [replace(rating(1, 1), userid=name)]))
    log.call(
        Recording(
            FILMS,
            [replace(rating(1, 2), userid=name, type="view", value=None)],
            {"view"},
        )
    )
    for each in STREAMS:
        key = exposures_key(wire.event_partition(name), each)
        client.xadd(key, {"user": exposure_user(FILMS, name), "exposure": "{}"})
    with redis_of(settings, db=settings.redis.feast_db) as features:
        features.hset(feast_online_key(28), "x", "1")
        assert log.forget(name, FILMS).releases == 2  # type: ignore[arg-type]
        assert not features.exists(feast_online_key(28))
    mark = wire.user_events_key(FILMS, name)
    stream = event_log_key(FILMS, wire.event_partition(name))
    assert [key for key in client.scan_iter("*") if name.encode() in key] == [
        mark.encode()
    ]
    holding = {
        key
        for key in client.scan_iter("*")
        if name.encode() in (client.dump(key) or b"")
    }
    assert holding <= {stream.encode()}
    of_name = [
        fields
        for _, fields in client.xrange(stream)
        if name.encode() in b"".join(fields.values())
    ]
    assert of_name == [{b"forget": json.dumps(name).encode()}]


def test_no_file_of_the_exchange_folder_holds_a_forgotten_event(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    """Redis's own files and the exported events; the id alone stays, in tombstones."""
    log.call(Recording(FILMS, [replace(rating(1, 1, "zq-event"), userid="zq-user")]))
    log.call(
        Recording(
            FILMS,
            [replace(rating(1, 2, "zq-view"), userid="zq-user", type="view")],
            {"view"},
        )
    )
    s1_log_to_parquet.main(settings)
    # not while a rewrite of an earlier test is under way
    until(client.save, despite=(redis.ResponseError,))

    def holding(text: bytes) -> list[str]:
        found = set()
        for path in settings.exchange_dir.rglob("*"):
            with suppress(FileNotFoundError):  # a service has deleted it meanwhile
                if path.is_file() and text in path.read_bytes():
                    found.add(path.parent.name)
        return sorted(found)

    assert len(holding(b"zq-event")) >= 2
    log.forget("zq-user", FILMS)
    s1_log_to_parquet.main(settings)
    until(
        lambda: holding(b"zq-event") == holding(b"zq-view") == [],
        despite=(FileNotFoundError,),
    )
    assert set(
        EventParts(settings.events_dir(FILMS)).read()["eventid"].dropna()
    ).isdisjoint({"zq-event", "zq-view"})


def test_of_a_user_so_many_events_count_and_no_more(
    settings: Settings, client: redis.Redis
) -> None:
    log = EventLog(settings.redis, most=3)
    log.call(Recording(FILMS, [rating(171, 1), rating(171, 2)]))
    with pytest.raises(TooManyEventsError, match="171"):
        log.call(Recording(FILMS, [rating(171, 3), rating(171, 4)]))
    assert logged(client, 171) == [rating(171, 1), rating(171, 2)], "none of them"
    view = replace(rating(171, 5), type="view", value=None)
    assert log.call(
        Recording(
            FILMS, [rating(171, 1), rating(171, 3), rating(171, 3), view], {"view"}
        )
    ) == (
        False,
        True,
        False,
        True,
    )
    assert log.call(Recording(FILMS, [rating(171, 3)])) == (False,), (
        "what is there already is no more"
    )


def test_events_without_effect_are_trimmed(
    settings: Settings, client: redis.Redis
) -> None:
    """And counts once all the same, and is forgotten with the user."""
    requested: list[tuple[OwnId, str]] = []

    def unneeded(userid: OwnId, dataset: str) -> list[str]:
        assert current() is NEVER, (
            "a release may be opened for it, which takes longer than Redis may"
        )
        requested.append((userid, dataset))
        return ["e1", "e2", "nobody's"]

    with closing(EventLog(settings.redis, unneeded, most=3)) as log:
        log.call(Recording(FILMS, [rating(231, 1), rating(231, 2), rating(231, 3)]))
        assert not requested
        more = [rating(232, 1), rating(231, 4), rating(231, 1), rating(231, 5)]
        assert log.call(Recording(FILMS, more)) == (True, True, False, True)
        assert requested == [(231, FILMS)]
        assert state(settings, 231) == [rating(231, number) for number in (3, 4, 5)]
        assert logged(client, 231) == [
            rating(231, number) for number in (1, 2, 3, 4, 5)
        ]
        with pytest.raises(TooManyEventsError, match="make events offline sync"):
            log.call(Recording(FILMS, [rating(231, 6)]))
        assert log.forget(231, FILMS).events == 5
    assert logged(client, 231) == []


def test_forgetting_can_be_retried(
    log: EventLog,
    client: redis.Redis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = wire.user_key(RELEASE, 181)
    client.lpush(wire.PUBLISHED_KEY, RELEASE)
    client.hset(key, mapping={wire.USER_NUMBER: wire.pack_ids([18])})
    with redis_of(settings, db=settings.redis.feast_db) as features:
        features.hset(feast_online_key(18), "x", "1")
        with monkeypatch.context() as patch:

            def fails(*_: object) -> None:
                raise redis.ConnectionError

            patch.setattr(log._features, "hdel", fails)
            with pytest.raises(ServiceError):
                log.forget(181, FILMS)
        assert log.forget(181, FILMS).releases == 1
        assert not features.exists(feast_online_key(18))
    assert not client.exists(key)


def test_a_forgotten_user_is_not_listed_or_reloaded(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    rows = [row_of(number, [], None, [1]) for number in (201, 202)]
    client.sadd(wire.LOADED_KEY, "dddddddddddd")
    for row in rows:
        client.hset(
            wire.user_key("dddddddddddd", row.own_id), mapping=dict(row.fields())
        )
        for key in (
            wire.ids_key("dddddddddddd"),
            wire.event_counts_key("dddddddddddd"),
        ):
            client.zadd(key, {f"{row.own_id}": 0})
    log.forget(201, FILMS)
    log.call(Recording(FILMS, [rating(201, 1)]))
    with closing(UserList(settings.redis)) as users:
        assert users.call(Listing("dddddddddddd", FILMS, 10)) == [("202", 0)]
    assert RedisStore(settings).remembered([201, 202], FILMS) == {202}


def test_an_unfinished_file_rewrite_is_repeated(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested: Semaphore = Semaphore(0)
    refusals = [redis.ResponseError("in progress"), redis.ResponseError("in progress")]

    def rewrite() -> None:
        if refusals:
            raise refusals.pop()
        requested.release()

    monkeypatch.setattr(log, "_begin_rewrite", rewrite)
    log.forget(211, FILMS)
    assert requested.acquire(timeout=60)


def test_each_forgetting_is_counted_for_all_processes(
    log: EventLog, settings: Settings
) -> None:
    with closing(RedisUsers(settings.redis)) as users:
        before = users.control().forgotten
        log.forget(191, FILMS)
        assert users.control().forgotten == before + 1


def test_forgetting_keeps_other_data_sets_user_of_same_number(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    """Feast keeps both in one row. What is known to be of a kept release of the other stays, and no more."""
    films, shop = (
        DefaultWorld(release="fffffffffff1"),
        DefaultWorld(release="fffffffffff2", name="shop"),
    )
    client.set(wire.manifest_key(films.release), films.published.model_dump_json())
    client.set(wire.manifest_key(shop.release), shop.published.model_dump_json())
    client.delete(wire.PUBLISHED_KEY)
    client.rpush(wire.PUBLISHED_KEY, films.release, shop.release)
    dataset = films.published.manifest.dataset.base_name
    for release in (films.release, shop.release):
        client.hset(
            wire.user_key(release, 221), mapping={wire.USER_NUMBER: wire.pack_ids([22])}
        )
    names = [feature.name for feature in films.spec.stored("user")]
    theirs, others = (
        feast_fields(films.release, names),
        feast_fields(shop.release, names),
    )
    stale = feast_fields("fffffffffff3", names)
    with redis_of(settings, db=settings.redis.feast_db) as features:
        features.hset(
            feast_online_key(22), mapping=dict.fromkeys([*theirs, *others, *stale], "1")
        )
        assert log.forget(221, dataset).releases == 1
        assert set(features.hkeys(feast_online_key(22))) == others
        log.forget(221, "shop")
        assert not features.exists(feast_online_key(22))
    client.delete(wire.PUBLISHED_KEY)
