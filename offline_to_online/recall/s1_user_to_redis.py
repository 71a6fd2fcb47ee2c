"""Load every user's recall state into Redis: preferred genres, vector and the filter of items already seen.

Industry keeps what a request needs about its user in a key-value store that answers in a fraction of a millisecond.
The state is loaded under the release's own keys, so nothing that is being served changes.

Reads:  data_exchange_center/offline/user_preferences, user_vectors, user_seen and popular .parquet
Writes: Redis hashes ml:<release>:user:<userid> {term, vector, filter}, ml:<release>:popular;
        data_exchange_center/offline_to_online/<release>/manifest.json
Run:    cd offline_to_online/recall && python s1_user_to_redis.py
Expect: MovieLens-1M: 6,040 users loaded, each read back and equal to its source
"""

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.load.manifests import open_release
from offline_to_online.load.redis_rows import check_users, popular_rows, user_rows, write_users
from offline_to_online.load.services import reaching, redis_address, redis_client


def main(settings: Settings) -> None:
    manifest = open_release(settings)
    rows, popular = user_rows(settings.exchange_dir), popular_rows(settings.exchange_dir)
    address = redis_address(settings)
    with reaching("Redis", address), redis_client(settings) as client:
        write_users(client, manifest.release, rows, popular)
        check_users(client, manifest.release, rows, popular)
    print(f"release {manifest.release}: {len(rows):,} users in Redis at {address}, each read back equal to its source")
    print(f"  with a vector: {sum(row.vector is not None for row in rows):,}")
    print(f"  with preferred genres: {sum(len(row.genres) > 0 for row in rows):,}")
    print(f"  seen items in the filters: {sum(len(row.seen) for row in rows):,}; popular list: {len(popular):,} items")


if __name__ == "__main__":
    run(main)
