"""Redis Cluster with a password: what is acknowledged outlives the master that took it; nobody else is let in."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from data_exchange_center import wire
from data_exchange_center.events import Event
from data_exchange_center.settings import Settings
from extras.events import event_parts as consumer
from extras.events.event_parts import EventParts
from extras.events.log import EventLog, Recording, event_log_key
from extras.trials.state import Trials
from extras.trials.store import TrialStore
from offline_to_online.stores.base import redis_client
from online.clients.base import ServiceError
from online.clients.redis import RedisUsers, UserQuery
from tests.cluster.conftest import (
    has_taken_over,
    masters,
    own_cluster,
    password_of,
    server_process,
)
from tests.unit.extras.trials.contracts import TrialStoreContract
from tests.waiting import until

FILMS, RELEASE = "films", "eeeeeeeeeeee"
WRITERS, KILLS = 8, 2


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with own_cluster(tmp_path_factory.mktemp("exchange")) as settings:
        yield settings


def kept(settings: Settings) -> None:
    """A release that has no users of its own: users with events are unknown users."""
    key = wire.manifest_key(RELEASE)
    with redis_client(settings) as client:
        for each in (key, *client.copies(key)):
            client.set(each, "{}")


def healed(settings: Settings) -> bool:
    """Three masters, a replica each, which has all of it."""
    found = masters(settings)
    if sorted(map(len, found.values())) != [1, 1, 1]:
        return False
    for replica in itertools.chain(*found.values()):
        with redis.Redis(port=replica, password=password_of(settings)) as server:
            if server.info("replication").get("master_link_status") != "up":
                return False
    return True


class Writer(threading.Thread):
    """Sends event after event of users of its own, each until it is acknowledged."""

    def __init__(self, settings: Settings, number: int, stop: threading.Event) -> None:
        super().__init__()
        self.acknowledged: list[Event] = []
        self.refused = 0
        self._settings, self._number, self._end = settings, number, stop

    def run(self) -> None:
        with closing(EventLog(self._settings.redis)) as log:
            for turn in itertools.count():
                userid = self._number * 100 + turn % 50
                event = Event(
                    f"e{turn}", userid, turn + 1, "rating", 1_000_000 + turn, 5.0
                )
                while True:
                    try:
                        log.call(Recording(FILMS, [event]))
                    except ServiceError:
                        self.refused += 1
                        if self._end.wait(0.05):
                            return
                    else:
                        break
                self.acknowledged.append(event)
                if self._end.wait(0.005):
                    return


def test_a_master_killed_under_load_loses_no_acknowledged_event(
    settings: Settings, tmp_path: Path
) -> None:
    kept(settings)
    stop = threading.Event()
    writers = [Writer(settings, number, stop) for number in range(1, WRITERS + 1)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(KILLS):
            until(lambda: all(len(writer.acknowledged) > 20 for writer in writers))
            until(lambda: healed(settings), despite=(redis.RedisError,))
            key = event_log_key(FILMS, wire.event_partition(100))
            with redis_client(settings) as client:
                port = client.get_node_from_key(key).port  # type: ignore[attr-defined]
            (replica,) = masters(settings)[port]
            server_process(settings, port).kill()
            until(lambda gone=port, heir=replica: has_taken_over(settings, heir, gone))
            before = [len(writer.acknowledged) for writer in writers]
            until(
                lambda b=before: all(
                    len(w.acknowledged) > n + 20
                    for w, n in zip(writers, b, strict=True)
                )
            )
            until(lambda: healed(settings), despite=(redis.RedisError,))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    acknowledged = [event for writer in writers for event in writer.acknowledged]
    assert len(acknowledged) > 40 * WRITERS
    assert sum(writer.refused for writer in writers) > 0, "the kills were felt"
    parts = EventParts(tmp_path / "parts")
    with redis_client(settings) as client:
        events, _ = consumer.bring(client, FILMS, parts)
    logged = [(entry.event.userid, entry.event.eventid) for entry in entries(settings)]
    sent = {(event.userid, event.eventid) for event in acknowledged}
    assert sent <= set(logged), (
        f"{len(sent - set(logged))} of {len(sent)} acknowledged events are lost"
    )
    assert len(logged) == len(set(logged)) == events, "each once"
    with closing(RedisUsers(settings.redis)) as users:
        for userid in {event.userid for event in acknowledged}:
            user = users.call(UserQuery(userid, RELEASE, FILMS)).user
            assert user is not None
            there = {each.event.eventid for each in user.events}
            assert {
                event.eventid for event in acknowledged if event.userid == userid
            } <= there


def entries(settings: Settings) -> list[consumer.Entry]:
    found = []
    with redis_client(settings) as client:
        for partition in range(wire.EVENT_PARTITIONS):
            key = event_log_key(FILMS, partition)
            found += [
                consumer.entry_of(key, raw, fields)
                for raw, fields in client.xrange(key)
            ]
    return [each for each in found if each.event is not None]


def test_events_without_a_replica_are_acknowledged_by_setting(
    settings: Settings,
) -> None:
    userid = 7
    key = event_log_key(FILMS, wire.event_partition(userid))
    until(lambda: healed(settings), despite=(redis.RedisError,))
    with redis_client(settings) as client:
        (replica,) = masters(settings)[client.get_node_from_key(key).port]  # type: ignore[attr-defined]
    event = Event("alone", userid, 1, "rating", 1_000_000, 5.0)
    process = server_process(settings, replica)
    alone = settings.redis.model_copy(update={"write_replicas": 0})
    quick = settings.redis.model_copy(update={"timeout_s": 10.0})
    process.suspend()
    try:
        with (
            closing(EventLog(quick)) as log,
            pytest.raises(ServiceError, match="TooFewReplicas"),
        ):
            log.call(Recording(FILMS, [event]))
        with closing(EventLog(alone)) as log:
            assert log.call(Recording(FILMS, [event])) == (False,), (
                "it was written, and not acknowledged"
            )
    finally:
        process.resume()
    until(lambda: healed(settings), despite=(redis.RedisError,))
    with closing(EventLog(settings.redis)) as log:
        assert log.call(Recording(FILMS, [event])) == (False,), (
            "sent again it is acknowledged, and counts once"
        )


def test_somebody_forgotten_is_forgotten_in_every_partition(settings: Settings) -> None:
    kept(settings)
    with (
        closing(EventLog(settings.redis)) as log,
        closing(RedisUsers(settings.redis)) as users,
    ):
        log.call(Recording(FILMS, [Event("e1", 11, 1, "rating", 1_000_000, 5.0)]))
        before = users.control().forgotten
        assert log.forget(11, FILMS) == 1
        assert users.control().forgotten > before
        assert users.call(UserQuery(11, RELEASE, FILMS)).user is None


def test_clients_without_the_password_are_refused(settings: Settings) -> None:
    for host, port in settings.redis.addresses:
        with (
            redis.Redis(host, port, retry=Retry(NoBackoff(), 0)) as unknown_user,
            pytest.raises(redis.AuthenticationError),
        ):
            unknown_user.ping()


def test_a_slot_that_moves_to_another_master_is_found_there(settings: Settings) -> None:
    kept(settings)
    event = Event("moves", 23, 1, "rating", 1_000_000, 5.0)
    with (
        closing(EventLog(settings.redis)) as log,
        closing(RedisUsers(settings.redis)) as users,
    ):
        log.call(Recording(FILMS, [event]))
        assert users.call(UserQuery(event.userid, RELEASE, FILMS)).user, (
            "both clients know where the slot is"
        )
        move_slot(settings, event_log_key(FILMS, wire.event_partition(event.userid)))
        until(
            lambda: log.call(Recording(FILMS, [event])) == (False,),
            despite=(ServiceError,),
        )
        until(
            lambda: users.call(UserQuery(event.userid, RELEASE, FILMS)).user,
            despite=(ServiceError,),
        )
        found = users.call(UserQuery(event.userid, RELEASE, FILMS)).user
    assert found is not None
    assert event.eventid in {each.event.eventid for each in found.events}


def move_slot(settings: Settings, key: str) -> None:
    """Move the key's slot, with all that lies in it, to a master that does not have it."""
    with redis_client(settings) as client:
        slot, old = client.keyslot(key), client.get_node_from_key(key).port  # type: ignore[attr-defined]
    new = min(masters(settings).keys() - {old})
    with (
        redis.Redis(port=old, password=password_of(settings)) as giver,
        redis.Redis(port=new, password=password_of(settings)) as taker,
    ):
        taker_id = taker.execute_command("CLUSTER MYID").decode()
        taker.execute_command(
            "CLUSTER SETSLOT", slot, "IMPORTING", giver.execute_command("CLUSTER MYID")
        )
        giver.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", taker_id)
        while keys := giver.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
            giver.migrate("127.0.0.1", new, keys, 0, 10_000, auth=password_of(settings))
        for server in (taker, giver):
            server.execute_command("CLUSTER SETSLOT", slot, "NODE", taker_id)


class TestTrialsInACluster(TrialStoreContract):
    @pytest.fixture
    def client(self, settings: Settings) -> Iterator[TrialStore]:
        with closing(TrialStore(settings.redis)) as store:
            store.update(lambda _: Trials())
            yield store
