"""Compare offline and online, column by column and in the score. Only a release that passes may go live.

Training and serving compute the same inputs in two places; where they drift apart, a model silently gets worse.
Although it lies in rank/, it checks recall too: candidates of real users are found and scored by the server's own
clients over the services (Redis, Elasticsearch, Feast, Triton) and offline (artifacts, PyTorch), where histories,
seen items and statistics are counted again from the ratings. For half of the users the request falls into their last
session, for the others days after it. A disagreement fails the step and names column, user and item, and so does an
index that finds too few of the exact candidates; a release that passes has that written into its manifest.

Reads:  the four services; data_exchange_center/offline/ (ratings, users, features, channels, vectors, spec, weights)
Writes: data_exchange_center/offline_to_online/<release>/manifest.json: the record of the check
Run:    cd offline_to_online/rank && python s3_check_offline_and_online.py
Expect: MovieLens-1M: 200 users; 40,000 pairs in 59 columns by the source's recipe, 51,200 in 136 by the default one;
        with what recall says of each pair and the score, differences below 1e-5; all of the exact candidates found
"""

from data_exchange_center.manifest import ParityRecord, Published
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online import parity, releases, rows
from offline_to_online.recount import recount

# The twenty with the longest seen filters, and others at random. A fault of the whole index, such as a wrong metric,
# shows with the first user; one that affects only every twentieth user is missed in one run of ten thousand
# (0.95 ** 180).
USERS = 200


def main(settings: Settings) -> None:
    manifest = releases.open_release(settings)
    truth = parity.offline_truth(settings.artifacts_dir, manifest)
    stores = releases.Stores.of(settings)
    states = truth.states.values()
    # not users who were forgotten
    known = stores.redis.remembered(
        [row.own_id for row in states], manifest.dataset.base_name
    )
    users = rows.sampled_users([row for row in states if row.own_id in known], USERS)
    times = {row.own_id: rows.request_time(row) for row in users}
    numbers = [row.number for row in users]
    truth = recount(settings.artifacts_dir, truth, manifest.recipe.data, numbers)
    place = releases.require_loaded(stores, manifest.release)
    published = Published(
        manifest=manifest, triton_model=place.model, triton_version=place.version
    )
    with parity.server_of(settings) as server:
        online = parity.online_answers(server, published, times, truth.own_ids)
    offline = parity.offline_answers(truth, online)
    gaps, shares = parity.compare(offline, online, truth)
    record = ParityRecord(
        users=len(online),
        pairs=sum(len(answer.scores) for answer in online),
        largest_difference=max(gaps.values()),
        triton_model=place.model,
        triton_version=place.version,
    )
    releases.record_parity(settings, manifest, record)
    print(
        f"release {manifest.release}: {record.pairs:,} pairs of {record.users} users, offline against online"
    )
    for group, gap in gaps.items():
        print(
            f"  {group:<24} differs by at most {gap:.1e} (allowed: {parity.TOLERANCE:g})"
        )
    for name, share in shares.items():
        print(
            f"  {name}: {share.mean():.4%} of the exact {manifest.recipe.recall.candidates} candidates found "
            f"(worst user {share.min():.2%}, all of them for {(share == 1).sum()})"
        )
    print(
        f"release {manifest.release} has passed: it may go live (offline_to_online/release/s1_go_live.py)"
    )


if __name__ == "__main__":
    run(main, about=__doc__)
