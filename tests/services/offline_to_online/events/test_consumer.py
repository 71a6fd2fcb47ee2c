"""The log in a real Redis, brought to Parquet: each acknowledged event once, whatever is killed when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.event_parts import EventParts
from data_exchange_center.events import Event
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.events import s1_log_to_parquet
from offline_to_online.events.consumer import GROUP, bring
from offline_to_online.stores.connections import redis_client
from online.events.log import EventLog, Recording
from tests.services.own_redis import own_redis

BRING_ONE_BY_ONE = """
from data_exchange_center.event_parts import EventParts
from data_exchange_center.settings import load_settings
from offline_to_online.events.consumer import bring
from offline_to_online.stores.connections import redis_client
settings = load_settings()
with redis_client(settings) as client:
    bring(client, EventParts(settings.events_dir), batch=1)
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with own_redis(tmp_path_factory.mktemp("exchange")) as settings:
        yield settings


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    log = EventLog(settings.redis)
    yield log
    log.close()


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with redis_client(settings) as client:
        client.flushdb()
        yield client


def rating(userid: int, number: int) -> Event:
    return Event(f"u{userid}-e{number}", userid, number, "rating", 1_000_000 + number, 5.0)


def eventids(parts: EventParts) -> list[str]:
    return sorted(parts.read()["eventid"].dropna())


def files(settings: Settings) -> list[Path]:
    return list(settings.events_dir.glob("*.parquet"))


class Killed(BaseException):
    """As if the process had ended here."""


@pytest.mark.parametrize("method", ["_write", "xack"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_consumer_killed_at_each_moment_repeats_and_loses_nothing(
    method: str, moment: str, log: EventLog, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed around each of its writes and acknowledgements in turn, with somebody forgotten in between."""
    parts = EventParts(tmp_path)
    log.call(Recording([rating(userid, number) for userid in (1, 2, 3) for number in range(4)]))
    log.forget(2)
    log.call(Recording([rating(2, 9)]))
    of = (EventParts, "_write") if method == "_write" else (redis.Redis, "xack")
    original = getattr(*of)

    for survived in range(50):
        left = survived

        def mortal(*args: object) -> object:
            nonlocal left
            if moment == "before" and not left:
                raise Killed
            answer = original(*args)
            if moment == "after" and not left:
                raise Killed
            left -= 1
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(*of, mortal)
            try:
                bring(client, parts, batch=3)
                break
            except Killed:
                continue
    else:
        pytest.fail("never got through")
    expected = sorted([f"u{userid}-e{number}" for userid in (1, 3) for number in range(4)] + ["u2-e9"])
    assert survived > 0
    assert eventids(parts) == expected
    assert bring(client, parts) == (0, 0)


def test_a_process_killed_in_the_middle_repeats_and_loses_nothing(
    settings: Settings, log: EventLog, client: redis.Redis
) -> None:
    parts = EventParts(settings.events_dir)
    expected = []
    for generation in range(3):
        events = [rating(userid, 1_000 * generation + n) for userid in range(20) for n in range(20)]
        log.call(Recording(events))
        expected += [event.eventid for event in events]
        enough = len(files(settings)) + 20
        consumer = subprocess.Popen([sys.executable, "-c", BRING_ONE_BY_ONE], env=os.environ | settings.environment())
        for attempt in Retrying(stop=stop_after_delay(120), wait=wait_fixed(0.01)):
            with attempt:
                assert len(files(settings)) > enough
        consumer.send_signal(signal.SIGKILL)
        assert consumer.wait() == -signal.SIGKILL, "it was not done yet"
        log.call(Recording([rating(99, generation)]))
        expected.append(rating(99, generation).eventid)
    s1_log_to_parquet.main(settings)
    assert eventids(parts) == sorted(expected)
    for partition in range(wire.EVENT_PARTITIONS):
        if client.exists(key := wire.event_log_key(partition)):
            (group,) = client.xinfo_groups(key)
            assert (group["name"], group["pending"], group["lag"]) == (GROUP.encode(), 0, 0)


def test_files_that_are_lost_are_written_again(log: EventLog, client: redis.Redis, tmp_path: Path) -> None:
    log.call(Recording([rating(1, 1), rating(2, 1)]))
    parts = EventParts(tmp_path)
    assert bring(client, parts) == (2, 0)
    assert bring(client, EventParts(tmp_path / "elsewhere")) == (2, 0)
    for path in tmp_path.glob("*.parquet"):
        path.unlink()
    assert bring(client, parts) == (2, 0)
    assert eventids(parts) == ["u1-e1", "u2-e1"]


def test_an_entry_that_is_no_event_is_named(client: redis.Redis, tmp_path: Path) -> None:
    entry = client.xadd(wire.event_log_key(0), {"event": "{}"})
    with pytest.raises(StepError, match=rf"entry {entry.decode()} of ml:log:\{{0\}} .*XDEL"):
        bring(client, EventParts(tmp_path))
