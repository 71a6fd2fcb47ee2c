"""The log of events in a real Redis: what is acknowledged is there, once, whatever happens."""

import json
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from threading import Semaphore
from typing import Any
from unittest.mock import Mock

import psutil
import pytest
import redis
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.settings import Settings
from extras.events import s1_log_to_parquet
from extras.events.log import (
    STREAMS,
    Call,
    EventLog,
    Recording,
    event_log_key,
    exposure_user,
    exposures_key,
    feast_fields,
    feast_online_key,
)
from extras.page.hook import Listing, UserList
from offline.feedback import exported
from offline_to_online.stores.base import redis_client
from offline_to_online.stores.redis import RedisStore
from online.clients.base import ServiceError
from online.clients.redis import RedisUsers, UserQuery
from stack.supervision import Supervisor
from tests.own_stack import redis_of
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


@pytest.fixture
def features(settings: Settings) -> Iterator[redis.Redis]:
    """Feast's online store."""
    with redis_of(settings, db=settings.redis.feast_db) as client:
        yield client


def rating(userid: OwnId, number: int, eventid: str = "") -> Event:
    eventid = eventid or f"e{number}"
    return Event(eventid, userid, number, "rating", 1_000_000 + number, 5.0)


def views(userid: OwnId, numbers: Iterable[int]) -> list[Event]:
    """Events that are only noted."""
    return [
        replace(rating(userid, number), type="view", value=None) for number in numbers
    ]


def record(log: EventLog, *events: Event, dataset: str = FILMS) -> list[bool]:
    """Which of them are new."""
    return list(log.call(Recording(dataset, events, {"view"})))


def load(client: redis.Redis, release: str, userid: OwnId, number: int) -> None:
    """A release's state of a user."""
    state = {wire.USER_NUMBER: wire.pack_ids([number])}
    client.hset(wire.user_key(release, userid), mapping=state)


def logged(client: redis.Redis, userid: int) -> list[Event]:
    """The user's events in the log, in its order."""
    entries = client.xrange(event_log_key(FILMS, wire.event_partition(userid)))
    packed = [fields[b"event"] for _, fields in entries if b"event" in fields]
    events = map(Event.unpack, packed)
    return [event for event in events if event.userid == userid]


def state(settings: Settings, userid: int) -> list[Event]:
    """The events that a request for the user is answered with."""
    with closing(RedisUsers(settings.redis)) as users:
        user = users.call(UserQuery(userid, RELEASE, FILMS)).user
    if user is None:
        return []
    ordered = sorted(user.events, key=lambda each: each.position)
    return [each.event for each in ordered]


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
            new += sum(record(logs[writer], *mine[:size]))
            del mine[:size]
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
    expected = [rating(131, number) for number in range(300)]
    for number, event in enumerate(expected):
        if number % 100 == 50:
            psutil.Process(supervisor.processes()["redis"]["pid"]).kill()
        again(record, log, event)
    with redis_client(settings) as fresh:
        assert logged(fresh, 131) == state(settings, 131) == expected


def test_the_functions_are_loaded_again_where_they_are_lost(
    log: EventLog, client: redis.Redis
) -> None:
    record(log, rating(141, 1))
    client.function_flush()
    assert record(log, rating(141, 2), rating(142, 2)) == [True, True]
    client.function_flush()
    assert log.forget(142, FILMS) == 1


def test_a_forgotten_user_is_in_no_log_and_no_state(
    log: EventLog, client: redis.Redis, features: redis.Redis, settings: Settings
) -> None:
    client.lpush(wire.PUBLISHED_KEY, RELEASE)
    load(client, RELEASE, 151, 17)
    lists = wire.ids_key(RELEASE), wire.event_counts_key(RELEASE)
    for each in lists:
        client.zadd(each, {"151": 0, "152": 0})
    features.hset(feast_online_key(17), "x", "1")
    record(log, rating(151, 1), rating(151, 2), rating(152, 1))
    assert log.forget(151, FILMS) == 2
    assert not features.exists(feast_online_key(17))
    assert not client.exists(wire.user_key(RELEASE, 151))
    assert [client.zrange(each, 0, -1) for each in lists] == [[b"152"], [b"152"]]
    assert logged(client, 151) == state(settings, 151) == []
    # who has read the log is reported to forget, too
    stream = client.xrange(event_log_key(FILMS, wire.event_partition(151)))
    assert b"151" in [fields.get(b"forget") for _, fields in stream]
    # another release brings the user back
    load(client, RELEASE, 151, 17)
    with closing(RedisUsers(settings.redis)) as users:
        assert users.call(UserQuery(151, RELEASE, FILMS)).user is None
    record(log, rating(151, 3))
    assert state(settings, 151) == [rating(151, 3)]
    assert logged(client, 152) == [rating(152, 1)]
    assert [log.forget(151, FILMS) for _ in range(2)] == [1, 0]


def test_a_user_of_another_data_set_is_somebody_else(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    """A user of the same id, in the same Redis: neither its events nor that it was forgotten count."""
    shop = "ffffffffffff"
    published = DefaultWorld(release=shop, name="shop+events").published
    client.set(wire.manifest_key(shop), published.model_dump_json())
    client.lpush(wire.PUBLISHED_KEY, RELEASE, shop)
    for release in (RELEASE, shop):
        row = row_of(9, [], None, [1])
        client.hset(wire.user_key(release, 221), mapping=dict(row.fields()))
    theirs, mine = rating(221, 1), rating(221, 2, "e1")
    assert record(log, theirs, dataset="shop") == [True]
    assert record(log, mine) == [True], "an eventid of another's"
    assert state(settings, 221) == logged(client, 221) == [mine]
    assert log.forget(221, FILMS) == 1
    assert not client.exists(wire.user_key(RELEASE, 221))
    with closing(RedisUsers(settings.redis)) as users:
        there = users.call(UserQuery(221, shop, "shop")).user
    assert there.number == 9
    assert [each.event for each in there.events] == [theirs]


def test_noted_events_are_in_the_log_only(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    seen = views(161, range(5))
    assert record(log, *seen) == [True] * 5
    assert record(log, seen[0], rating(161, 9, "e1")) == [False] * 2, (
        "an id counts once"
    )
    assert logged(client, 161) == seen
    assert state(settings, 161) == []
    assert not client.exists(wire.user_events_key(FILMS, 161)), "no request reads it"
    assert log.forget(161, FILMS) == 5
    assert logged(client, 161) == []


def test_compacted_events_count_once_and_are_forgotten(
    settings: Settings, client: redis.Redis
) -> None:
    with closing(EventLog(settings.redis, most=2)) as log:
        for number in range(20):
            assert record(log, rating(281, number)) == [True]
        assert record(log, rating(281, 0)) == [False], "each counts once"
        assert log.forget(281, FILMS) == 20
    assert logged(client, 281) == []
    assert not client.keys("ml:noted:*281*")


def test_forgetting_does_not_scan_the_store(log: EventLog, client: redis.Redis) -> None:
    client.sadd(wire.LOADED_KEY, RELEASE)
    client.config_resetstat()
    log.forget(291, FILMS)
    assert "cmdstat_scan" not in client.info("commandstats")


def record_many(log: EventLog, userid: int, count: int) -> None:
    """Record views, as many at a time as a request may have."""
    for start in range(0, count, 500):
        record(log, *views(userid, range(start, min(start + 500, count))))


def test_forgetting_many_noted_events_takes_short_calls(
    log: EventLog, client: redis.Redis
) -> None:
    record_many(log, 261, 2_000)
    record_many(log, 262, 2_000)
    client.config_resetstat()
    assert log.forget(261, FILMS) == 2_000
    assert client.info("commandstats")["cmdstat_fcall"]["calls"] >= 6
    assert logged(client, 261) == []
    assert len(logged(client, 262)) == 2_000


def test_an_interrupted_forgetting_is_completed_by_a_retry(
    log: EventLog, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_many(log, 271, 1_200)
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
    record(log, *views(271, [0]))
    assert log.forget(271, FILMS) == 701
    assert logged(client, 271) == []
    assert not client.keys("ml:noted:*271*")


def test_a_forgotten_user_is_in_no_loaded_release_and_no_key(
    log: EventLog, client: redis.Redis, features: redis.Redis
) -> None:
    """Also where the release was never activated, or is being loaded. The mark alone names the user."""
    name, other = "zq-forget-me", "cccccccccccc"
    for release in (other, RELEASE):
        client.sadd(wire.LOADED_KEY, release)
        load(client, release, name, 28)
    for key in (
        wire.ids_key(other),
        wire.ids_key(RELEASE),
        wire.replacement(wire.event_counts_key(RELEASE)),
    ):
        client.zadd(key, {name: 0, "another": 0})
    record(log, rating(name, 1), *views(name, [2]))
    for each in STREAMS:
        key = exposures_key(wire.event_partition(name), each)
        client.xadd(key, {"user": exposure_user(FILMS, name), "exposure": "{}"})
    features.hset(feast_online_key(28), "x", "1")
    log.forget(name, FILMS)
    assert not features.exists(feast_online_key(28))
    text, keys = name.encode(), list(client.scan_iter("*"))
    mark = wire.user_events_key(FILMS, name)
    assert [key for key in keys if text in key] == [mark.encode()]
    stream = event_log_key(FILMS, wire.event_partition(name))
    holding = {key for key in keys if text in (client.dump(key) or b"")}
    assert holding <= {stream.encode()}
    entries = [fields for _, fields in client.xrange(stream)]
    of_name = [fields for fields in entries if text in b"".join(fields.values())]
    assert of_name == [{b"forget": json.dumps(name).encode()}]


def test_no_file_of_the_exchange_folder_holds_a_forgotten_event(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    """Redis's own files and the exported events; the id alone stays, in tombstones."""
    view = replace(rating("zq-user", 2, "zq-view"), type="view")
    record(log, rating("zq-user", 1, "zq-event"), view)
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
    eventids = exported(settings.events_dir(FILMS))["eventid"]
    assert not eventids.isin(["zq-event", "zq-view"]).any()


def test_the_oldest_events_of_a_user_make_room(
    settings: Settings, client: redis.Redis
) -> None:
    """Each counts once all the same, stays in the log, and is forgotten with the user."""
    rated = [rating(231, number) for number in range(1, 8)]
    with closing(EventLog(settings.redis, most=4)) as log:
        record(log, *rated[:4])
        new = record(log, rating(232, 1), rated[4], rated[0], rated[5])
        assert new == [True, True, False, True]
        assert state(settings, 231) == rated[3:6]
        assert logged(client, 231) == rated[:6]
        assert log.forget(231, FILMS) == 6
    assert logged(client, 231) == []


def test_forgetting_can_be_retried(
    log: EventLog,
    client: redis.Redis,
    features: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.lpush(wire.PUBLISHED_KEY, RELEASE)
    load(client, RELEASE, 181, 18)
    features.hset(feast_online_key(18), "x", "1")
    with monkeypatch.context() as patch:
        patch.setattr(log._features, "hdel", Mock(side_effect=redis.ConnectionError))
        with pytest.raises(ServiceError):
            log.forget(181, FILMS)
    log.forget(181, FILMS)
    assert not features.exists(feast_online_key(18))
    assert not client.exists(wire.user_key(RELEASE, 181))


def test_a_forgotten_user_is_not_listed_or_reloaded(
    log: EventLog, client: redis.Redis, settings: Settings
) -> None:
    release = "dddddddddddd"
    client.sadd(wire.LOADED_KEY, release)
    for number in (201, 202):
        row = row_of(number, [], None, [1])
        client.hset(wire.user_key(release, number), mapping=dict(row.fields()))
        for key in (wire.ids_key(release), wire.event_counts_key(release)):
            client.zadd(key, {f"{number}": 0})
    log.forget(201, FILMS)
    record(log, rating(201, 1))
    with closing(UserList(settings.redis)) as users:
        assert users.call(Listing(release, FILMS, 10)) == [("202", 0)]
    assert RedisStore(settings).remembered([201, 202], FILMS) == {202}


def test_an_unfinished_file_rewrite_is_repeated(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested: Semaphore = Semaphore(0)
    refusals = [redis.ResponseError("in progress")] * 2

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
    log: EventLog, client: redis.Redis, features: redis.Redis
) -> None:
    """Feast keeps both in one row. What is known to be of a kept release of the other stays, and no more."""
    films = DefaultWorld(release="fffffffffff1")
    shop = DefaultWorld(release="fffffffffff2", name="shop")
    client.delete(wire.PUBLISHED_KEY)
    for world in (films, shop):
        manifest = world.published.model_dump_json()
        client.set(wire.manifest_key(world.release), manifest)
        client.rpush(wire.PUBLISHED_KEY, world.release)
        load(client, world.release, 221, 22)
    names = [feature.name for feature in films.spec.stored("user")]
    theirs, others, stale = (
        feast_fields(release, names)
        for release in (films.release, shop.release, "fffffffffff3")
    )
    key = feast_online_key(22)
    features.hset(key, mapping=dict.fromkeys(theirs | others | stale, "1"))
    dataset = films.published.manifest.dataset.base_name
    log.forget(221, dataset)
    assert set(features.hkeys(key)) == others
    log.forget(221, "shop")
    assert not features.exists(key)
    client.delete(wire.PUBLISHED_KEY)
