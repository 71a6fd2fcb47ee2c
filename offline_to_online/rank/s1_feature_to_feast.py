"""Load every user's and item's features into Feast and read each value back through its feature server.

Industry keeps features in a store that training and serving share, so that both see the same values. Feast registers
what a feature is called and where it comes from (`feast apply`), copies the newest values into Redis
(`feast materialize-incremental`) and serves them over HTTP (`feast serve`, part of `make up`). Users that Redis marks
as forgotten are left out.

Reads:  data_exchange_center/offline/user_features, item_features and ratings .parquet, feature_spec.json; Redis
Writes: data_exchange_center/online/feast/feature_repo/releases/<release>/; feature views and services
        ml_user_<release> and ml_item_<release>; ml_user and ml_item as long as no release was ever live
Run:    cd offline_to_online/rank && python s1_feature_to_feast.py
Expect: MovieLens-1M: 6,040 users with 39 features and 3,883 items with 18 by the source's recipe, with 3 and 5 by the
        default one; each value equal to its source
"""

from data_exchange_center import columns, steps, wire
from data_exchange_center.release_parts import read_own_ids
from data_exchange_center.settings import Settings
from offline_to_online.releases import open_release
from offline_to_online.rows import feature_frames, newest_event
from offline_to_online.stores import feast, redis


def main(settings: Settings) -> None:
    manifest = open_release(settings)
    frames = feature_frames(settings.artifacts_dir, manifest.feature_spec)
    own_ids = read_own_ids(settings.artifacts_dir)
    store = feast.FeastStore(settings)
    store.expect_alive()
    users = frames["user"]
    kept = redis.RedisStore(settings).remembered(
        list(own_ids.users.values()), manifest.dataset.base_name
    )
    frames["user"] = users[users[columns.Columns.USER].map(own_ids.users).isin(kept)]
    at = newest_event(settings.artifacts_dir)
    store.load(manifest.release, manifest.feature_spec, frames, at)
    store.check(
        manifest.release, frames, {"user": own_ids.users, "item": own_ids.items}
    )
    print(
        f"release {manifest.release}: features in Feast at {store.address}, each value read back equal to its source"
    )
    for entity, frame in frames.items():
        print(f"  {len(frame):,} {entity}s with {frame.shape[1] - 1} features")
    if len(frames["user"]) < len(users):
        print(
            f"  left out, as they were forgotten: {len(users) - len(frames['user']):,}"
        )
    print(f"  service {wire.FEAST_SERVICE['item']} answers 200 for items 1, 3, 5")


if __name__ == "__main__":
    steps.run(main, about=__doc__)
