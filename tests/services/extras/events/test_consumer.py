"""The log in a real Redis, brought to Parquet: each acknowledged event once, whatever is killed when."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event as Flag
from threading import Semaphore

import numpy as np
import pyarrow as pa
import pytest
import redis

from data_exchange_center import wire
from data_exchange_center.candidates import StoredUser
from data_exchange_center.columns import Columns
from data_exchange_center.events import Event
from data_exchange_center.history import History
from data_exchange_center.release_parts import UserRow
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events.event_parts import Entry, EventParts, bring
from extras.events.log import EventLog, Recording, event_log_key
from offline.feedback import exported, merge
from offline_to_online.stores.base import redis_client
from online.clients.redis import RedisUsers, UserQuery
from tests.datasets import Tables, tables_of
from tests.services.offline_to_online.releases import Killed

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


# Releases go live, one after the other and back, while many write: each event counts, and once.


WRITERS, EACH = 8, 25
KNOWN, UNKNOWN_USER = 1, 77  # users
OLD, TRAINED, LAST = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"  # releases
ITEMS = WRITERS * EACH  # those of the data set's own events come after


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A user with three events, another who has two, and films that nobody has seen yet."""
    films = range(1, ITEMS + 4)
    ratings = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    files = {
        "ratings": [f"{user}::{ITEMS + n}::4::{1_000 * n}\n" for user, n in ratings],
        "users": ["1::F::1::10::\n", "2::M::56::16::\n"],
        "movies": [f"{film}::Film {film} (1977)::Action\n" for film in films],
    }
    folder = tmp_path_factory.mktemp("films")
    for name, lines in files.items():
        (folder / f"{name}.dat").write_text("".join(lines))
    return tables_of(folder)


def load(client: redis.Redis, release: str, data: Tables) -> None:
    """A release that has been trained on ``data``, none of it held out."""
    nothing = np.empty(0, np.int32)
    for number, rows in data.ratings.groupby(Columns.USER):
        columns = (
            rows[name].to_numpy(np.int64)[::-1]
            for name in (Columns.ITEM, Columns.RATING, Columns.TIMESTAMP)
        )
        history = History(*columns)
        seen = np.unique(history.item_numbers).astype(np.int32)
        row = UserRow(int(number), (), seen, nothing, history, {}, own_id=int(number))
        client.hset(wire.user_key(release, int(number)), mapping=row.fields())
    client.set(wire.manifest_key(release), "{}")


def current(users: RedisUsers, release: str, userid: int, data: Tables) -> StoredUser:
    user = users.call(UserQuery(userid, release, FILMS)).user
    items = {number: number for number in range(1, ITEMS + 4)}
    return user.current(data.dataset, items, None)


def events_of(writer: int) -> Sequence[Event]:
    user = UNKNOWN_USER if writer % 2 else KNOWN
    items = range(1 + writer * EACH, 1 + (writer + 1) * EACH)
    return [
        Event(f"e{item}", user, item, "rating", 1_000_000 + item, 5.0) for item in items
    ]


def wait_for(acknowledged: Semaphore, events: int) -> None:
    for _ in range(events):
        assert acknowledged.acquire(timeout=60)


def test_releases_switch_while_many_write(settings: Settings, data: Tables) -> None:
    parts = EventParts(settings.events_dir(FILMS))
    trained, acknowledged = Flag(), Semaphore(0)

    def write(writer: int) -> None:
        """One event after the other; the next answer knows it, whichever release is live by then."""
        with (
            closing(EventLog(settings.redis)) as log,
            closing(RedisUsers(settings.redis)) as users,
        ):
            for number, event in enumerate(events_of(writer)):
                if number == EACH // 2:
                    assert trained.wait(60)
                assert log.call(Recording(FILMS, [event])) == (True,)
                acknowledged.release()
                live, _ = users.listed()
                user = current(users, live, int(event.userid), data)
                assert int(event.itemid) in user.seen
                assert np.count_nonzero(user.history.item_numbers == event.itemid) == 1

    def train(client: redis.Redis, release: str) -> int:
        """A release of what the log has by now; how many events that were."""
        events, _ = bring(client, FILMS, parts)
        merged = merge(*data, exported(parts.folder))
        load(client, release, data._replace(ratings=merged.ratings))
        return events

    with redis_client(settings) as client, ThreadPoolExecutor(WRITERS) as pool:
        load(client, OLD, data)
        client.set(wire.LIVE_KEY, OLD)
        writing = [pool.submit(write, writer) for writer in range(WRITERS)]
        wait_for(acknowledged, WRITERS * EACH // 4)
        snapshot = train(client, TRAINED)
        trained.set()
        with closing(RedisUsers(settings.redis)) as users:
            for number in range(WRITERS * EACH * 3 // 4):
                users.activate((TRAINED, OLD)[number % 2])
                wait_for(acknowledged, 1)
        for each in writing:
            each.result()
        rest = train(client, LAST)

        assert snapshot > 0
        assert snapshot + rest == WRITERS * EACH
        with closing(RedisUsers(settings.redis)) as users:
            for userid, own in ((KNOWN, 3), (UNKNOWN_USER, 0)):
                expected = set(range(ITEMS + 1, ITEMS + 1 + own))
                for writer in range(WRITERS):
                    for event in events_of(writer):
                        if event.userid == userid:
                            expected.add(int(event.itemid))
                for release in (OLD, TRAINED, LAST):
                    user = current(users, release, userid, data)
                    assert len(user.history) == len(expected), release
                    assert set(user.history.item_numbers) == expected
                    assert set(user.seen) == set(user.history.item_numbers)
                    assert (np.diff(user.history.times) <= 0).all()
