"""Events that an earlier version recorded, which did not note of which data set they are, taken over for one.

They lie under keys without a data set, which nothing reads but this: an event told of one data set must not be applied
to another's. Taking them over records them anew, in the order in which they were acknowledged; interrupted, it is
right to do the same again, as an eventid counts once.

Run:  python -m offline_to_online.events.unnamed <data set>
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any, Final

import redis

from data_exchange_center import wire
from data_exchange_center.event_parts import Entry
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline_to_online.events.consumer import entry_of
from offline_to_online.stores.connections import reaching, redis_address, redis_client
from online.events.log import EventLog, Recording

_PAGE: Final = 1_000  # entries


def _log(partition: int) -> str:
    return f"ml:log:{{{partition}}}"


def _keys(client: redis.Redis, partition: int) -> Iterator[bytes]:
    for kind in ("events", "noted"):
        yield from client.scan_iter(f"ml:{kind}:{{{partition}}}:*", count=5_000)


def count(client: redis.Redis) -> int:
    """How many there are."""
    lengths: list[Any] = [client.xlen(_log(partition)) for partition in range(wire.EVENT_PARTITIONS)]
    return sum(lengths)


def name_events(client: redis.Redis, log: EventLog, dataset: str) -> int:
    """Record them as events of a data set, and who was forgotten as forgotten. How many entries of the log they were.

    Raises ServiceError.
    """
    taken = 0
    for partition in range(wire.EVENT_PARTITIONS):
        for entry in _entries(client, partition):
            taken += 1
            if entry.event is None:
                log.forget(entry.userid, dataset)
                continue
            place = f"ml:noted:{{{partition}}}:{entry.userid}"
            noted = {entry.event.type} if client.hexists(place, entry.event.eventid) else ()
            log.call(Recording(dataset, [entry.event], noted))
        for key in _keys(client, partition):
            client.unlink(key)
        client.unlink(_log(partition))  # last: it says what there is
    return taken


def _entries(client: redis.Redis, partition: int) -> Iterator[Entry]:
    after = "-"
    while True:
        page: Any = client.xrange(_log(partition), min=after, count=_PAGE)
        yield from (entry_of(_log(partition), raw, fields) for raw, fields in page)
        if len(page) < _PAGE:
            return
        after = f"({page[-1][0].decode()}"


def main(settings: Settings, dataset: str) -> None:
    folder = settings.service_dir("events")
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        if not count(client):
            raise StepError("Redis holds no events without a data set's name.")
        with closing(EventLog(settings.redis)) as log:
            taken = name_events(client, log, dataset)
    for path in folder.glob("*.parquet"):  # the same ones, brought by that version
        path.unlink()
    print(f"{taken:,} events are those of {dataset} from now on; `make events` brings them to Parquet")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m offline_to_online.events.unnamed", description=__doc__)
    parser.add_argument("dataset", help="its name, as `make offline` prints it first, without +events")
    run(partial(main, dataset=parser.parse_args().dataset))
