"""Compare offline and online, column by column and in the score; when they agree, the release goes live.

Training and serving compute the same inputs in two places; where they drift apart, a model silently gets worse.
Candidates of real users are found and scored by the server's own functions over the services (Redis, Elasticsearch,
Feast, Triton) and offline (artifacts, PyTorch), where histories, seen items and statistics are counted anew from the
ratings. Half of the users are asked for while their last sitting goes on, half days later. A disagreement fails the
step, names column, user and item, and leaves the live release alone.

Reads:  the four services; data_exchange_center/offline/ (ratings, users, features, channels, vectors, spec, weights)
Writes: in Redis ml:<release>:manifest and the pointer ml:live; the alias ml_item; Feast's services ml_user and ml_item;
        clears away all but the live release and the one before it
Run:    cd offline_to_online/rank && python s3_check_offline_and_online.py
Expect: MovieLens-1M: 100 users; 20,000 pairs in 59 columns by the source's recipe, 25,600 in 76 by the default one;
        with what recall says of each pair and the score, differences below 1e-5; the release is live
"""

from data_exchange_center.release import Published
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.load.activation import go_live, require_loaded
from offline_to_online.load.manifests import open_release
from offline_to_online.load.offline_truth import offline_truth, recount
from offline_to_online.load.online_answers import online_answers
from offline_to_online.load.parity import TOLERANCE, compare, offline_answers
from offline_to_online.load.road import server_road
from offline_to_online.load.sampling import request_time, sampled_users

USERS = 100


def main(settings: Settings) -> None:
    manifest = open_release(settings)
    truth = offline_truth(settings.exchange_dir, manifest)
    userids = [row.userid for row in sampled_users(list(truth.states.values()), USERS)]
    truth = recount(settings.exchange_dir, truth, manifest.recipe.data, userids)
    place = require_loaded(settings, manifest.release)
    published = Published(manifest=manifest, triton_model=place.model, triton_version=place.version)
    with server_road(settings) as services:
        online = online_answers(services, published, {userid: request_time(truth.states[userid]) for userid in userids})
    parity = compare(offline_answers(truth, online), online, truth)
    print(f"release {manifest.release}: {parity.pairs:,} pairs of {parity.users} users, offline against online")
    for group, gap in parity.groups.items():
        print(f"  {group:<24} differs by at most {gap:.1e} (allowed: {TOLERANCE:g})")
    gone = go_live(settings, manifest, place)
    print(f"release {manifest.release} is live" + (f"; cleared away: {', '.join(sorted(gone))}" if gone else ""))


if __name__ == "__main__":
    run(main)
