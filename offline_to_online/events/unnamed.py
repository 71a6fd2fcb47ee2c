"""Events that an earlier version recorded, which did not note of which data set they are, taken over for one.

They lie under keys without a data set, which nothing reads but this: an event told of one data set must not be applied
to another's. Taking them over records them anew, in the order in which they were acknowledged; interrupted, it is
right to do the same again, as an eventid counts once. Who was forgotten loses what is older than that, no more.

Run:  python -m offline_to_online.events.unnamed <data set>
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from typing import Any, Final

import redis

from data_exchange_center import artifacts, wire
from data_exchange_center.dataset import WITH_EVENTS
from data_exchange_center.event_parts import BEGINNING, Entry, Position
from data_exchange_center.events import Event
from data_exchange_center.own_ids import OwnId
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline_to_online.events.consumer import entry_of
from offline_to_online.stores.connections import reaching, redis_address, redis_client
from offline_to_online.stores.redis import RedisStore
from online.events.log import EventLog, Recording

_PAGE: Final = 1_000  # entries


def _keys(client: redis.Redis, partition: int) -> Iterator[bytes]:
    for kind in ("events", "noted"):
        yield from client.scan_iter(f"ml:{kind}:{{{partition}}}:*", count=5_000)


def count(client: redis.Redis) -> int:
    """How many there are."""
    lengths: list[Any] = [client.xlen(wire.unnamed_log_key(partition)) for partition in range(wire.EVENT_PARTITIONS)]
    return sum(lengths)


def known_datasets(settings: Settings) -> list[str]:
    """The names of those that a kept release is of, or that was ingested. Raises as `reaching`."""
    store, known = RedisStore(settings), set()
    for release in store.history():
        with suppress(StepError):  # of a version whose manifests this one does not read
            known.add(store.published(release).manifest.dataset.base_name)
    if artifacts.DATASET.at(settings.exchange_dir).is_file():
        known.add(str(artifacts.DATASET.read(settings.exchange_dir)["name"]).removesuffix(WITH_EVENTS))
    return sorted(known)


def name_events(client: redis.Redis, log: EventLog, dataset: str) -> int:
    """Record them as events of a data set, and who was forgotten as forgotten. How many entries of the log they were.

    Raises ServiceError.
    """
    taken = 0
    for partition in range(wire.EVENT_PARTITIONS):
        taken += _name_partition(client, log, dataset, partition)
        for key in _keys(client, partition):
            client.unlink(key)
        client.unlink(wire.unnamed_log_key(partition))  # last: it says what there is
    return taken


def _name_partition(client: redis.Redis, log: EventLog, dataset: str, partition: int) -> int:
    unnamed, named = wire.unnamed_log_key(partition), wire.event_log_key(dataset, partition)
    forgotten, since = _forgotten(client, unnamed), _forgotten(client, named)
    for userid in forgotten.keys() - since.keys():
        later = [entry.event for entry in _entries(client, named) if entry.event and entry.userid == userid]
        recordings = [_recording(client, dataset, event, wire.noted_events_key(dataset, userid)) for event in later]
        log.forget(userid, dataset)
        for recording in recordings:  # what a server was told since the upgrade
            log.call(recording)
    taken = 0
    for entry in _entries(client, unnamed):
        taken += 1
        gone = max(places.get(entry.userid, BEGINNING) for places in (forgotten, since))
        if entry.event is not None and entry.position > gone:
            log.call(_recording(client, dataset, entry.event, f"ml:noted:{{{partition}}}:{entry.userid}"))
    return taken


def _recording(client: redis.Redis, dataset: str, event: Event, noted_key: str) -> Recording:
    """``noted_key``: where the event is if it is only noted."""
    noted = {event.type} if client.hexists(noted_key, event.eventid) else ()
    return Recording(dataset, [event], noted)


def _forgotten(client: redis.Redis, log_key: str) -> dict[OwnId, Position]:
    """Where in a log its users were forgotten last."""
    return {entry.userid: entry.position for entry in _entries(client, log_key) if entry.event is None}


def _entries(client: redis.Redis, log_key: str) -> Iterator[Entry]:
    after = "-"
    while True:
        page: Any = client.xrange(log_key, min=after, count=_PAGE)
        yield from (entry_of(log_key, raw, fields) for raw, fields in page)
        if len(page) < _PAGE:
            return
        after = f"({page[-1][0].decode()}"


def main(settings: Settings, dataset: str) -> None:
    folder = settings.service_dir("events")
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        if not count(client):
            raise StepError("Redis holds no events without a data set's name.")
        if dataset not in (known := known_datasets(settings)):
            raise StepError(
                f"no data set {dataset!r} is known here: nothing was changed. These can be named, as kept releases are "
                f"made of them or `make offline` read them last: {', '.join(known) or 'none'}"
            )
        with closing(EventLog(settings.redis, most=sys.maxsize)) as log:
            taken = name_events(client, log, dataset)
    for path in folder.glob("*.parquet"):  # the same ones, brought by that version
        path.unlink()
    print(f"{taken:,} events are those of {dataset} from now on; `make events` brings them to Parquet")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m offline_to_online.events.unnamed", description=__doc__)
    parser.add_argument("dataset", help="its name, as `make offline` prints it first, without +events")
    run(partial(main, dataset=parser.parse_args().dataset))
