"""Events that an earlier version recorded, which did not note of which data set they are, taken over for one.

They lie under keys without a data set, which nothing reads but this: an event told of one data set must not be applied
to another's. Taking them over records them anew, in the order in which they were acknowledged; interrupted, it is
right to do the same again, as an eventid counts once. Who was forgotten loses what is older than that, no more. Until
then `make events`, `make offline` and `make sync` stop where that version was asked to forget somebody.

Run:  python -m extras.events.unnamed <data set>
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial

import redis

from data_exchange_center import artifacts, wire
from data_exchange_center.dataset import WITH_EVENTS
from data_exchange_center.event_parts import BEGINNING, EventParts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from data_exchange_center.unnamed_events import unnamed_parts
from extras.events.log import EventLog, Recording
from offline_to_online.stores.connections import reaching, redis_address, redis_client
from offline_to_online.stores.event_log import count_unnamed, entries, forgotten
from offline_to_online.stores.redis import RedisStore


def _keys(client: redis.Redis, partition: int) -> Iterator[bytes]:
    for kind in ("events", "noted"):
        yield from client.scan_iter(f"ml:{kind}:{{{partition}}}:*", count=5_000)


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
    before, since = forgotten(client, unnamed), forgotten(client, named)
    for userid in before.keys() - since.keys() - forgotten(client, named, taken_over=True).keys():
        log.forget(userid, dataset, until=before[userid])
    taken = 0
    for entry in entries(client, unnamed):
        taken += 1
        gone = max(places.get(entry.userid, BEGINNING) for places in (before, since))
        if entry.event is not None and entry.position > gone:
            noted = client.hexists(f"ml:noted:{{{partition}}}:{entry.userid}", entry.event.eventid)
            log.call(Recording(dataset, [entry.event], {entry.event.type} if noted else ()))
    return taken


def name_files(client: redis.Redis, log: EventLog, dataset: str, settings: Settings) -> None:
    """The same with what that version brought to Parquet.

    As long as Redis holds events that name none, the files are copies of them, and are deleted. Raises ServiceError.
    """
    parts, named = unnamed_parts(settings), _marked(client, dataset)
    for userid, place in parts.forgotten().items():
        if userid not in named:
            log.forget(userid, dataset, until=place)
    if count_unnamed(client):
        for path in parts.files():
            path.unlink()
    else:
        parts.move(EventParts(settings.events_dir(dataset)), named)


def _marked(client: redis.Redis, dataset: str) -> set[str]:
    """The own ids of a data set's users who were forgotten."""
    keys = [wire.event_log_key(dataset, partition) for partition in range(wire.EVENT_PARTITIONS)]
    marks = [forgotten(client, key, taken_over=both) for key in keys for both in (True, False)]
    return {str(userid) for each in marks for userid in each}


def main(settings: Settings, dataset: str) -> None:
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        if not count_unnamed(client) and not unnamed_parts(settings).files():
            raise StepError("There are no events without a data set's name.")
        if dataset not in (known := known_datasets(settings)):
            raise StepError(
                f"no data set {dataset!r} is known here: nothing was changed. These can be named, as kept releases are "
                f"made of them or `make offline` read them last: {', '.join(known) or 'none'}"
            )
        with closing(EventLog(settings.redis, most=sys.maxsize)) as log:
            name_files(client, log, dataset, settings)
            taken = name_events(client, log, dataset)
    print(f"{taken:,} events are those of {dataset} from now on; `make events` brings them to Parquet")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m extras.events.unnamed", description=__doc__)
    parser.add_argument("dataset", help="its name, as `make offline` prints it first, without +events")
    run(partial(main, dataset=parser.parse_args().dataset))
