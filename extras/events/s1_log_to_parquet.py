"""Export feedback collected since the last run to Parquet: the next `make offline` trains on it.

In industry a stream of events is read by many consumers, each with its own offset: one keeps features fresh, one fills
the warehouse that models are trained from. This consumer of the Redis streams is of the second kind. Killed at any
moment, it resumes where its files end. Users who were forgotten are forgotten in these files, too. Every data set has
streams and a folder of its own: only its own events join it.

Reads:  the streams ml:log:<data set>:{0} to ml:log:<data set>:{15} in Redis
Writes: online/events/<data set>/*.parquet in the exchange folder
Run:    cd extras/events && python s1_log_to_parquet.py
Expect: how many events of each data set are new; run again at once, none is
"""

from pathlib import Path

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from extras.events.event_parts import EventParts, bring, logged_datasets
from offline_to_online.stores.redis import RedisStore
from online.clients.redis import Connected


def export(client: Connected, name: str, folder: Path) -> None:
    """Write what is new in a data set's log."""
    parts = EventParts(folder)
    events, forgotten = bring(client, name, parts)
    print(f"{name}: {events:,} new events, in {folder}")
    if forgotten:
        print(f"{name}: users who were forgotten: {forgotten:,}")


def main(settings: Settings) -> None:
    redis = RedisStore(settings)
    with redis.client() as client:
        names = logged_datasets(client)
        for name in names:
            export(client, name, settings.events_dir(name))
    if not names:
        print(f"0 new events from Redis at {redis.address}")
    if not settings.train_on_events:
        print("RECSYS_TRAIN_ON_EVENTS is off: `make offline` leaves them out.")


if __name__ == "__main__":
    run(main, about=__doc__)
