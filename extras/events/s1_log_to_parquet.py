"""Export feedback collected since the last run to Parquet: the next `make offline` trains on it.

In industry a stream of events is read by many consumers, each with its own offset: one keeps features fresh, one fills
the warehouse that models are trained from. This consumer of the Redis streams is of the second kind. Killed at any
moment, it resumes where its files end. Users who were forgotten are forgotten in these files, too. Every data set has
streams and a folder of its own: only its own events join it.

Where a user has thousands of events that only are noted, the oldest exported ones are deleted from Redis.

Reads:  the streams ml:log:<data set>:{0} to ml:log:<data set>:{15} in Redis
Writes: online/events/<data set>/*.parquet in the exchange folder
Run:    cd extras/events && python s1_log_to_parquet.py
Expect: how many events of each data set are new, those of missing files included; run again at once, none is
"""

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from extras.events.event_parts import EventParts, bring, logged_datasets, trim_noted
from offline_to_online.stores.redis import RedisStore


def main(settings: Settings) -> None:
    redis = RedisStore(settings)
    with redis.client() as client:
        folders = {name: settings.events_dir(name) for name in logged_datasets(client)}
        gaps = {name: EventParts(folder).gaps() for name, folder in folders.items()}
        brought = {
            name: bring(client, name, EventParts(folder))
            for name, folder in folders.items()
        }
        trimmed = {
            name: trim_noted(client, name, EventParts(folder))
            for name, folder in folders.items()
        }
    for name, (events, forgotten) in brought.items():
        print(
            f"{name}: {events:,} new events from Redis at {redis.address}, in {folders[name]}"
        )
        if gaps[name]:
            print(
                f"{name}: files were missing, and are written again: {gaps[name]:,} of the log's ranges"
            )
        if trimmed[name]:
            print(
                f"{name}: exported events that change nothing, deleted from Redis: {trimmed[name]:,}"
            )
        if forgotten:
            print(f"{name}: users who were forgotten: {forgotten:,}")
    if not brought:
        print(f"0 new events from Redis at {redis.address}")
    if not settings.train_on_events:
        print("RECSYS_TRAIN_ON_EVENTS is off: `make offline` leaves them out.")


if __name__ == "__main__":
    run(main, about=__doc__)
