"""Update users' features in Feast from collected feedback: in industry, the work of a stream processor.

It reads the log from where it was last, takes each user once, however many the events, counts what the user's state
says by now, and writes `n_ratings` with Feast's own API, straight into its online store. The feature server sees it
with its next request and has no work with it. The recommender need not wait for it: it counts itself, from the history
that it reads anyway. All other features are the release's.

Reads:  the streams ml:log:<data set>:{0} to ml:log:<data set>:{15} and the users' states in Redis;
        online/feast/feature_repo/releases/<release>/ in the exchange folder
Writes: rows of ml_user_<release> in Feast's online store, for each release that is kept;
        online/feast/feature_repo/releases/<release>/followed.json
Run:    cd extras/events && python s2_features_to_feast.py
Expect: of how many users the rows were written; run again at once, of none
"""

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from extras.events.feature_follower import follow
from offline_to_online.stores.base import reaching, redis_address, redis_client


def main(settings: Settings) -> None:
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        followed = follow(settings, client)
    for release, users, why_not in followed:
        print(f"release {release}: features of {users:,} users in Feast{f' ({why_not})' if why_not else ''}")
    if not followed:
        print("no release was ever live: there are no features to follow")


if __name__ == "__main__":
    run(main)
