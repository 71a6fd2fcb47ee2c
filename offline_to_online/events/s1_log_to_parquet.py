"""Bring what servers were told since the last time to Parquet: the next `make offline` trains on it.

In industry a stream of events is read by many consumers, each with a place of its own: one keeps features fresh, one
fills the warehouse that models are trained from. Here a consumer of the Redis stream is that second one. Killed
at any moment, it goes on where its files end. Users who were forgotten are forgotten in these files, too.

Reads:  the streams ml:log:{0} to ml:log:{15} in Redis
Writes: online/events/*.parquet in the exchange folder
Run:    cd offline_to_online/events && python s1_log_to_parquet.py
Expect: how many events are new; run again at once, none is
"""

from data_exchange_center.event_parts import EventParts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.events.consumer import bring
from offline_to_online.stores.connections import reaching, redis_address, redis_client


def main(settings: Settings) -> None:
    address = redis_address(settings)
    with reaching("Redis", address), redis_client(settings) as client:
        brought = bring(client, EventParts(settings.events_dir))
    print(f"{brought.events:,} new events from Redis at {address}, in {settings.events_dir}")
    if brought.forgotten:
        print(f"users who were forgotten: {brought.forgotten:,}")
    if not settings.train_on_events:
        print("RECSYS_TRAIN_ON_EVENTS is off: `make offline` leaves them out.")


if __name__ == "__main__":
    run(main)
